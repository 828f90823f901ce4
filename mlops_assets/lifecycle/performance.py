"""performance: the metrics of a week whose labels have matured, against what was promised."""

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
        "performance",
        phase="monitoring",
        kinds={"scikitlearn", "mlflow"},
        description="Does the model keep in production what its evaluation promised? The metrics of"
        " a week, once the truth about it is known.",
        partitions_def=partitions,
        automation_condition=automation.watching(use_case, use_case.label_delay),
        deps=[
            key(use_case, "predictions"),
            key(use_case, "labels"),
            dg.AssetDep(key(use_case, "champion"), partition_mapping=in_charge()),
        ],
    )
    yield stage_checks(
        use_case,
        "performance",
        partitions,
        Check("performance", "No metric is worse than promised beyond noise."),
    )
