"""evaluation: candidate and champion on the same held-out rows, and the gate between them."""

from collections.abc import Iterator

import dagster as dg

from mlops_assets.lifecycle.assets import key
from mlops_assets.lifecycle.checks import Check, stage_checks
from mlops_assets.lifecycle.partitions import as_of_weeks
from mlops_assets.lifecycle.tracked import report_asset
from mlops_assets.ml.gates import Rule
from mlops_assets.use_cases import UseCase


def build(use_case: UseCase) -> Iterator[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    partitions = as_of_weeks(use_case)
    yield report_asset(
        use_case,
        "evaluation",
        phase="training",
        kinds={"scikitlearn", "mlflow"},
        description="Is the new model better than the one in charge, beyond noise? Both answer the"
        " same rows of the last week, which neither was trained on.",
        partitions_def=partitions,
        deps=[key(use_case, "training_set"), key(use_case, "candidate")],
    )
    yield stage_checks(
        use_case,
        "evaluation",
        partitions,
        *(Check(rule.name, _promise(rule), blocking=True) for rule in use_case.gate),
    )


def _promise(rule: Rule) -> str:
    where = f" in every group of {rule.slice}" if rule.slice else ""
    how_sure = f"with {rule.confidence:.0%} confidence"
    if rule.against == "absolute":
        return f"{rule.metric} is no worse than {rule.threshold:g}{where}, {how_sure}."
    if rule.threshold < 0:
        return (
            f"{rule.metric} is at most {-rule.threshold:g} worse than the {rule.against}'s"
            f"{where}, {how_sure}."
        )
    return (
        f"{rule.metric} is better than the {rule.against}'s by more than"
        f" {rule.threshold:g}{where}, {how_sure}."
    )
