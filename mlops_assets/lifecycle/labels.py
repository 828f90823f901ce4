"""labels: the truth, once it has matured."""

from collections.abc import Iterator

import dagster as dg

from mlops_assets.lifecycle import automation
from mlops_assets.lifecycle.assets import key, stage_asset
from mlops_assets.lifecycle.checks import Check, stage_checks
from mlops_assets.lifecycle.partitions import data_partitions
from mlops_assets.use_cases import UseCase


def build(use_case: UseCase) -> Iterator[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    partitions = data_partitions(use_case)
    yield stage_asset(
        use_case,
        "labels",
        phase="data",
        kinds={"pandas", "deltalake"},
        description=f"What turned out to be true (`{use_case.label}`), {use_case.label_delay} after"
        " the event at the earliest.",
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        automation_condition=automation.maturing(use_case),
        deps=[key(use_case, "dataset")],
    )
    yield stage_checks(
        use_case,
        "labels",
        partitions,
        Check("maturity", "The truth about every row of the partition is complete.", warns=True),
        Check("coverage", "Matured rows have a label.", warns=True),
    )
