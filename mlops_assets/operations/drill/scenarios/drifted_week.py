"""The world changes, and the loop closes: nobody touches it once the week was watched."""

from __future__ import annotations

from collections.abc import Iterator

from mlops_assets.operations.drill.operator import Claim, Operator, counted, told

TITLE = "A drifted week"


def play(operator: Operator) -> Iterator[Claim]:
    before, url = operator.live_version, operator.status.url
    week = operator.shift()
    failed = operator.failed_checks(week)
    yield Claim(
        "the drift check fails", f"failed: {', '.join(failed) or 'none'}", "drift" in failed
    )

    found = operator.until("the retraining has ended", lambda: operator.decided(week))
    retrained = [one for one in found if one.decision == "retrain"]
    yield Claim("exactly one decision to retrain", told(found), len(retrained) == 1)
    trainings = operator.trainings(found)
    yield Claim("exactly one training", counted(len(trainings), "training"), len(trainings) == 1)

    if any(one.progress == "promoted" for one in retrained):
        operator.until("a new version is live", lambda: operator.live_version != before)
    live, champion = operator.status, operator.in_charge
    yield Claim(
        "the new champion is live, at the same address",
        f"version {before} was live, version {operator.live_version} is, at {live.url}",
        champion[0] != before and len(set(champion)) == 1 and live.url == url and live.ready,
    )
