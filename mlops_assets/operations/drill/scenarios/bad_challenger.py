"""For weeks, many labels are wrong; the model that has learnt from them must not take over."""

from __future__ import annotations

from collections.abc import Iterator

from mlops_assets import ledger
from mlops_assets.operations.drill.operator import Claim, Operator
from mlops_assets.operations.drill.simulated import USE_CASE

TITLE = "A bad challenger"


def play(operator: Operator) -> Iterator[Claim]:
    before, entries = operator.in_charge, ledger.entries(operator.tables, USE_CASE)
    start = operator.today
    operator.today += USE_CASE.train_window
    # The last week, on which challenger and champion are compared, is right.
    operator.change(mislabelled=(str(start), str(operator.today - USE_CASE.holdout)))
    operator.ingest(start, operator.today)
    outcome = operator.run("train", [str(operator.today)])

    failed = [found for found in outcome.failed_checks if found.blocking]
    said = "; ".join(f"{found.check_name}: {found.description}" for found in failed)
    yield Claim(
        "the gate blocks its promotion",
        said or "no blocking check failed",
        outcome.refused and any(found.check_name.startswith("gate_") for found in failed),
    )
    kept = ledger.entries(operator.tables, USE_CASE) == entries
    yield Claim(
        "ledger, alias and service keep the champion",
        "version {} by the ledger, {} by the alias, {} live".format(*operator.in_charge),
        kept and operator.in_charge == before,
    )
