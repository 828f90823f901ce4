"""prediction_log: what the online service answered, taken in exactly once."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from mlops_assets.lifecycle.assets import key, settings, task
from mlops_assets.lifecycle.checks import Check, specs
from mlops_assets.lifecycle.deployment import DEPLOYMENT
from mlops_assets.lifecycle.metadata import materialized, shown
from mlops_assets.lifecycle.partitions import in_charge, service_partitions
from mlops_assets.use_cases import UseCase
from resources.clock import Clock
from resources.compute.base import Compute
from resources.deployments.base import Deployments
from resources.files import Files
from resources.tables import Tables

LOG = "prediction_log"
CHECKS = (
    Check("no_loss", "No number is missing among the answers that the service counted."),
    Check("no_duplicates", "No answer stands twice."),
)


def build(use_case: UseCase) -> Iterator[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    partitions = service_partitions(use_case)
    yield _log(use_case, partitions)
    yield _checks(use_case, partitions)


def _log(use_case: UseCase, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        **settings(
            use_case,
            LOG,
            phase="serving",
            kinds={"bentoml", "deltalake"},
            description="What the online service answered in this time, by its own clock: inputs,"
            " score, version, request, and the truth once it has matured. The present partition"
            " grows with each run.",
        ),
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=[
            key(use_case, DEPLOYMENT),
            dg.AssetDep(key(use_case, "labels"), partition_mapping=in_charge()),
        ],
        automation_condition=_hourly(use_case),
    )
    def _asset(
        context: dg.AssetExecutionContext,
        compute: Compute,
        tables: Tables,
        files: Files,
        clock: Clock,
        deployments: Deployments,
    ) -> Iterator[Any]:
        segments = deployments.prediction_log(use_case.name)
        keys = context.partition_keys
        work = task(use_case, LOG, keys, tables, files, clock, segments=segments)
        yield from materialized(context, compute.run(context, work))

    return _asset


def _hourly(use_case: UseCase) -> dg.AutomationCondition[Any]:
    """The present partition as it grows and the one before, whose last answers it misses."""
    deployed = dg.AssetSelection.assets(key(use_case, DEPLOYMENT))
    hour_began: dg.AutomationCondition[Any] = dg.AutomationCondition.cron_tick_passed("5 * * * *")
    return (
        dg.AutomationCondition.in_latest_time_window(2 * use_case.calendar.step)
        & hour_began.since_last_handled()
        & ~dg.AutomationCondition.any_deps_missing().allow(deployed)
        & ~dg.AutomationCondition.in_progress()
    ).with_label("hourly")


def _checks(use_case: UseCase, partitions: dg.PartitionsDefinition) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        name=f"{use_case.name}__{LOG}_checks", specs=specs(use_case, LOG, CHECKS, partitions)
    )
    def _check(
        context: dg.AssetCheckExecutionContext,
        tables: Tables,
        files: Files,
        clock: Clock,
        deployments: Deployments,
    ) -> Iterator[dg.AssetCheckResult]:
        from mlops_assets.stages import Stage, prediction_log

        keys = context.op_execution_context.partition_keys
        segments = deployments.prediction_log(use_case.name)
        stage = Stage(task(use_case, LOG, keys, tables, files, clock, segments=segments))
        for verdict in prediction_log.check(stage):
            yield dg.AssetCheckResult(
                check_name=verdict.check,
                asset_key=key(use_case, LOG),
                passed=verdict.passed,
                description=verdict.description,
                metadata=shown(verdict.metadata),
            )

    return _check
