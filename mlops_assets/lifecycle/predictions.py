"""predictions: batch scores of a day by the champion of that day."""

from collections.abc import Iterator

import dagster as dg

from mlops_assets.lifecycle import automation
from mlops_assets.lifecycle.assets import key, stage_asset
from mlops_assets.lifecycle.checks import Check, stage_checks
from mlops_assets.lifecycle.partitions import data_partitions, so_far
from mlops_assets.use_cases import UseCase


def build(use_case: UseCase) -> Iterator[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    partitions = data_partitions(use_case)
    yield stage_asset(
        use_case,
        "predictions",
        phase="serving",
        kinds={"scikitlearn", "deltalake"},
        description="What the model said about each row, with the version that said it: the"
        " champion of that day, however late it is computed.",
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        automation_condition=automation.predicting(use_case),
        deps=[
            key(use_case, "features"),
            dg.AssetDep(key(use_case, "champion"), partition_mapping=so_far(use_case)),
        ],
    )
    yield stage_checks(
        use_case,
        "predictions",
        partitions,
        Check("row_count", "Each row of the features has exactly one score.", blocking=True),
    )
