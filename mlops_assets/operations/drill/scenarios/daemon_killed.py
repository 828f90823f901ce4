"""The daemon dies between writing a decision down and acting on it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from mlops_assets import decisions
from mlops_assets.operations.drill.operator import Claim, Operator, OverdueError, counted, told
from mlops_assets.operations.drill.simulated import USE_CASE
from mlops_assets.operations.runs import console
from resources.home import home

TITLE = "The daemon killed in a decision"
BLINK = 0.002
LONG = 120.0


def play(operator: Operator) -> Iterator[Claim]:
    known = decisions.version(operator.tables, USE_CASE)
    week = operator.shift()
    failed = operator.failed_checks(week)
    _until_decided(week, known)
    operator.daemon.kill()
    found = operator.about(week)
    trainings = operator.trainings(found)
    yield Claim(
        "killed with the decision written, nothing started",
        f"{counted(len(found), 'decision')}, {counted(len(trainings), 'training')}",
        len(found) > 0 and not trainings,
    )
    operator.daemon.start()
    found = operator.until("the retraining has ended", lambda: operator.decided(week))
    retrained = [one for one in found if one.decision == "retrain"]
    yield Claim(
        "started again, one decision for each failed check, one to retrain",
        f"failed: {', '.join(failed)}; {told(found)}",
        [one.cause for one in found] == failed and len(retrained) == 1,
    )
    trainings = operator.trainings(found)
    yield Claim(
        "one training, carried out",
        f"{counted(len(trainings), 'training')}; {'; '.join(one.outcome for one in retrained)}",
        len(trainings) == 1 and [one.progress for one in retrained] == ["promoted"],
    )


def _until_decided(week: str, version: int) -> None:
    """Return the moment that the ledger has a decision about a week; it has had `version` so far.

    Told by the name of the partition in the table's own log, which costs no time to read.
    """
    log = home("tables", USE_CASE.name, "retraining", "_delta_log")
    started = time.monotonic()
    with console.status("waiting until a decision is written"):
        while True:
            commit = log / f"{version + 1:020}.json"
            if not commit.exists():
                time.sleep(BLINK)
            elif f"-{week}-" in commit.read_text():
                return
            else:
                version += 1
            if time.monotonic() - started > LONG:
                raise OverdueError(f"no decision was written in {LONG:.0f} s")
