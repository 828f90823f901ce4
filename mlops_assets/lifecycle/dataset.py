"""dataset: rows fetched from the source, validated; bad rows go to quarantine."""

from collections.abc import Iterator

import dagster as dg

from mlops_assets.lifecycle import automation
from mlops_assets.lifecycle.assets import stage_asset
from mlops_assets.lifecycle.checks import Check, stage_checks
from mlops_assets.lifecycle.partitions import data_partitions
from mlops_assets.use_cases import UseCase


def build(use_case: UseCase) -> Iterator[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    partitions = data_partitions(use_case)
    yield stage_asset(
        use_case,
        "dataset",
        phase="data",
        kinds={"python", "deltalake"},
        description="What happened, as the source tells it: every row keeps the contract, and"
        " rows that do not wait in quarantine with the reason.",
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        automation_condition=automation.arriving(use_case),
    )
    yield stage_checks(
        use_case,
        "dataset",
        partitions,
        Check(
            "contract",
            "Schema, types, ranges, unique keys and volume are as the use case declares.",
            blocking=True,
        ),
        Check("freshness", "The newest data are at most two partitions old.", warns=True),
    )
