"""features: the model's inputs, from what was known at each row's prediction time."""

from collections.abc import Iterator

import dagster as dg

from mlops_assets.lifecycle import automation
from mlops_assets.lifecycle.assets import key, stage_asset
from mlops_assets.lifecycle.checks import Check, stage_checks
from mlops_assets.lifecycle.partitions import data_partitions, history
from mlops_assets.use_cases import UseCase


def build(use_case: UseCase) -> Iterator[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    partitions = data_partitions(use_case)
    yield stage_asset(
        use_case,
        "features",
        phase="data",
        kinds={"pandas", "deltalake"},
        description="What the model gets to see of each row, as it was known when the prediction"
        " is made.",
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        automation_condition=automation.following(use_case),
        deps=[dg.AssetDep(key(use_case, "dataset"), partition_mapping=history(use_case))],
    )
    yield stage_checks(
        use_case,
        "features",
        partitions,
        Check("schema", "Types and ranges are as the use case declares.", blocking=True),
        Check(
            "null_rate",
            "No feature is missing in more than three quarters of the rows.",
            warns=True,
        ),
        Check(
            "no_leakage",
            "Computed again without what was not known yet, sampled rows stay the same.",
            blocking=True,
        ),
    )
