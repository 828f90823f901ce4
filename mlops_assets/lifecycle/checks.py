"""Asset checks: each asks a stage's `check`, which reads what is stored, so it can ask again."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)

from mlops_assets.lifecycle.assets import key, task
from mlops_assets.lifecycle.metadata import shown
from mlops_assets.use_cases import UseCase
from resources.clock import Clock
from resources.files import Files
from resources.tables import Tables

if TYPE_CHECKING:
    from mlops_assets.stages import Verdict


@dataclass(frozen=True)
class Check:
    """A promise about an asset. A blocking one stops what follows in the run."""

    name: str
    description: str
    blocking: bool = False
    warns: bool = False
    """Failing is worth knowing, but is no error."""

    @property
    def severity(self) -> dg.AssetCheckSeverity:
        return dg.AssetCheckSeverity.WARN if self.warns else dg.AssetCheckSeverity.ERROR


def specs(
    use_case: UseCase,
    asset: str,
    checks: Sequence[Check],
    partitions_def: dg.PartitionsDefinition | None,
) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(
            check.name,
            asset=key(use_case, asset),
            description=check.description,
            blocking=check.blocking,
            partitions_def=partitions_def,
        )
        for check in checks
    ]


def stage_checks(
    use_case: UseCase,
    asset: str,
    partitions_def: dg.PartitionsDefinition,
    *checks: Check,
) -> dg.AssetChecksDefinition:
    """Checks whose verdicts the asset's stage gives."""
    by_name = {check.name: check for check in checks}

    @dg.multi_asset_check(
        name=f"{use_case.name}__{asset}_checks",
        specs=specs(use_case, asset, checks, partitions_def),
    )
    def _checks(
        context: dg.AssetCheckExecutionContext, tables: Tables, files: Files, clock: Clock
    ) -> Iterator[dg.AssetCheckResult | dg.AssetCheckEvaluation]:
        asset_key, partitions = key(use_case, asset), context.op_execution_context.partition_keys
        ask = partial(verdicts, use_case, asset, tables=tables, files=files, clock=clock)
        found = ask(partitions)
        for verdict in found:
            yield dg.AssetCheckResult(
                check_name=verdict.check,
                asset_key=asset_key,
                passed=verdict.passed,
                severity=by_name[verdict.check].severity,
                description=verdict.description,
                metadata=shown(verdict.metadata),
            )
        if len(partitions) > 1:
            targets = _targets(context.instance, asset_key, partitions)
            for partition in partitions:
                # What all pass together, each passes; else each is asked.
                own = found if all(one.passed for one in found) else ask([partition])
                for verdict in own:
                    check = by_name[verdict.check]
                    yield _of_partition(asset_key, check, verdict, partition, targets)

    return _checks


def _of_partition(
    asset: dg.AssetKey,
    check: Check,
    verdict: "Verdict",
    partition: str,
    targets: Mapping[str, AssetCheckEvaluationTargetMaterializationData],
) -> dg.AssetCheckEvaluation:
    """A verdict on one partition of a range: Dagster itself only notes that on the whole."""
    return dg.AssetCheckEvaluation(
        asset,
        check.name,
        passed=verdict.passed,
        metadata={},
        severity=check.severity,
        blocking=check.blocking,
        partition=partition,
        target_materialization_data=targets.get(partition),
        description=verdict.description,
    )


def _targets(
    instance: dg.DagsterInstance, asset: dg.AssetKey, partitions: Sequence[str]
) -> dict[str, AssetCheckEvaluationTargetMaterializationData]:
    """What a check speaks of; without it Dagster takes an evaluation for outdated."""
    wanted = dg.AssetRecordsFilter(asset, asset_partitions=list(partitions))
    found = instance.fetch_materializations(wanted, limit=3 * len(partitions)).records
    return {
        str(record.partition_key): AssetCheckEvaluationTargetMaterializationData(
            storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
        )
        for record in reversed(found)
    }


def verdicts(
    use_case: UseCase,
    asset: str,
    partitions: Sequence[str],
    tables: Tables,
    files: Files,
    clock: Clock,
) -> "list[Verdict]":
    """What the asset's stage says of partitions that are stored."""
    from mlops_assets.stages import Stage

    module = importlib.import_module(f"mlops_assets.stages.{asset}")
    found: list[Verdict] = module.check(
        Stage(task(use_case, asset, partitions, tables, files, clock))
    )
    return found
