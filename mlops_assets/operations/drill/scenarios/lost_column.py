"""One day, the source sends its rows without a column that the model needs."""

from __future__ import annotations

from collections.abc import Iterator

from mlops_assets.ml.calendar import WEEK
from mlops_assets.operations.drill.operator import Claim, Operator
from mlops_assets.operations.drill.simulated import DAY

TITLE = "A lost column"


def play(operator: Operator) -> Iterator[Claim]:
    monday = operator.today
    lost, monday_after = monday + 2 * DAY, monday + WEEK
    operator.change(lost_column_on=str(lost))
    operator.ingest(monday, lost)
    outcome = operator.ingest(lost, lost + DAY)
    operator.ingest(lost + DAY, monday_after)
    operator.today = monday_after

    said = "; ".join(f.description or "" for f in outcome.failed_checks if f.blocking)
    yield Claim(
        "the contract refuses the day, and names the column",
        said or "no blocking check failed",
        outcome.refused and "distance" in said,
    )
    names = ("dataset", "features", "labels")
    wrote = [name for name in names if str(lost) in operator.tables.partitions(f"drill/{name}")]
    yield Claim(
        "nothing is made of it",
        f"the day is in {', '.join(wrote) or 'no table'}",
        not wrote,
    )
    pinned = operator.run("only_training_set", [str(monday_after)])
    manifest = operator.files.read_json(f"drill/training_set/{monday_after}/manifest.json")
    days = [day for day in manifest["partitions"] if day >= str(monday)]
    yield Claim(
        "nothing is trained on it, nor lost with it",
        f"a training as of {monday_after} has {len(days)} days of that week",
        pinned.success and str(lost) not in days and len(days) == WEEK // DAY - 1,
    )
