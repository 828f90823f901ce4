"""drift: the inputs and scores of a week against what the champion was trained on."""

from collections.abc import Iterator

import dagster as dg

from mlops_assets.lifecycle import automation
from mlops_assets.lifecycle.assets import key
from mlops_assets.lifecycle.checks import Check, stage_checks
from mlops_assets.lifecycle.partitions import in_charge, past_weeks
from mlops_assets.lifecycle.tracked import report_asset
from mlops_assets.use_cases import UseCase


def build(use_case: UseCase) -> Iterator[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    partitions = past_weeks(use_case)
    yield report_asset(
        use_case,
        "drift",
        phase="monitoring",
        kinds={"evidently", "mlflow"},
        description="Has the world become another than the one the model has learnt? A week's"
        " inputs and scores, compared with those of its training set.",
        partitions_def=partitions,
        automation_condition=automation.watching(use_case),
        deps=[
            key(use_case, "features"),
            key(use_case, "predictions"),
            dg.AssetDep(key(use_case, "champion"), partition_mapping=in_charge()),
        ],
    )
    yield stage_checks(
        use_case,
        "drift",
        partitions,
        Check(
            "drift",
            "Inputs and scores differ no more from the training set's than its own weeks differ"
            f" from each other; fails by chance in {use_case.alpha:.0%} of weeks at most.",
        ),
    )
