"""Asset checks: each asks a stage's `check`, which reads what is stored, so it can ask again."""

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
    severity = {check.name: check.severity for check in checks}

    @dg.multi_asset_check(
        name=f"{use_case.name}__{asset}_checks",
        specs=specs(use_case, asset, checks, partitions_def),
    )
    def _checks(
        context: dg.AssetCheckExecutionContext, tables: Tables, files: Files, clock: Clock
    ) -> Iterator[dg.AssetCheckResult | dg.AssetCheckEvaluation]:
        partitions = context.op_execution_context.partition_keys
        found = verdicts(use_case, asset, partitions, tables, files, clock)
        for verdict in found:
            yield dg.AssetCheckResult(
                check_name=verdict.check,
                asset_key=key(use_case, asset),
                passed=verdict.passed,
                severity=severity[verdict.check],
                description=verdict.description,
                metadata=shown(verdict.metadata),
            )
        failed = [c for c in checks if c.blocking and not _passed(c.name, found)]
        if failed and len(partitions) > 1:
            for partition in partitions:
                one = verdicts(use_case, asset, [partition], tables, files, clock)
                target = _latest(context.instance, key(use_case, asset), partition)
                yield from _refusals(key(use_case, asset), partition, failed, one, target)

    return _checks


def _passed(name: str, found: "Sequence[Verdict]") -> bool:
    return all(verdict.passed for verdict in found if verdict.check == name)


def _refusals(
    asset: dg.AssetKey,
    partition: str,
    checks: Sequence[Check],
    found: "Sequence[Verdict]",
    target: AssetCheckEvaluationTargetMaterializationData | None,
) -> Iterator[dg.AssetCheckEvaluation]:
    """Blocking checks that one partition of a range fails: Dagster only notes them of the whole."""
    for check in checks:
        if not _passed(check.name, found):
            yield dg.AssetCheckEvaluation(
                asset,
                check.name,
                passed=False,
                metadata={},
                severity=check.severity,
                blocking=True,
                partition=partition,
                target_materialization_data=target,
                description="; ".join(v.description for v in found if v.check == check.name),
            )


def _latest(
    instance: dg.DagsterInstance, asset: dg.AssetKey, partition: str
) -> AssetCheckEvaluationTargetMaterializationData | None:
    """What a check speaks of; without it Dagster takes an evaluation for outdated."""
    wanted = dg.AssetRecordsFilter(asset, asset_partitions=[partition])
    for found in instance.fetch_materializations(wanted, limit=1).records:
        return AssetCheckEvaluationTargetMaterializationData(
            storage_id=found.storage_id, run_id=found.run_id, timestamp=found.timestamp
        )
    return None


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
