"""training_set: a pinned snapshot of what was known at the as-of time."""

from collections.abc import Iterator

import dagster as dg

from mlops_assets.lifecycle.assets import key, stage_asset
from mlops_assets.lifecycle.checks import Check, stage_checks
from mlops_assets.lifecycle.partitions import as_of_weeks, window
from mlops_assets.use_cases import UseCase


def build(use_case: UseCase) -> Iterator[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    partitions = as_of_weeks(use_case)
    yield stage_asset(
        use_case,
        "training_set",
        phase="training",
        kinds={"deltalake"},
        description=f"The rows of the {use_case.train_window.days} days before a Monday whose truth"
        " was known by then, pinned by table versions and content hash.",
        partitions_def=partitions,
        deps=[
            dg.AssetDep(key(use_case, name), partition_mapping=window(use_case))
            for name in ("features", "labels")
        ],
    )
    yield stage_checks(
        use_case,
        "training_set",
        partitions,
        Check("size", "There are enough rows to learn from.", blocking=True),
        Check("class_balance", "No class is all but absent.", warns=True),
    )
