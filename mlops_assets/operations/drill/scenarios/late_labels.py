"""The truth about a week comes a month late."""

from __future__ import annotations

from collections.abc import Iterator

from mlops_assets.operations.drill.operator import Claim, Operator, counted
from mlops_assets.operations.drill.simulated import USE_CASE

TITLE = "Labels a month late"
JOB = f"{USE_CASE.name}_train"


def play(operator: Operator) -> Iterator[Claim]:
    before, trained = operator.in_charge[:2], _trainings(operator)
    operator.change(truth_held_from=str(operator.today))
    week = operator.live()
    summary = operator.files.read_json(f"drill/performance/{week}/result.json")["summary"]
    yield Claim("performance says so, and judges no metric", summary, "labels are late" in summary)

    found = operator.until("that is decided about", lambda: operator.decided(week))
    yield Claim(
        "no retraining: the labels have not matured",
        "; ".join(f"{one.cause}: {one.decision} ({one.reason})" for one in found),
        all(one.decision == "skip" and "labels not matured" in one.reason for one in found),
    )
    more = _trainings(operator) - trained
    yield Claim(
        "nothing is trained on it",
        f"{counted(more, 'training')}, champion version {operator.in_charge[0]}",
        more == 0 and operator.in_charge[:2] == before,
    )


def _trainings(operator: Operator) -> int:
    import dagster as dg

    return operator.instance.get_runs_count(dg.RunsFilter(job_name=JOB))
