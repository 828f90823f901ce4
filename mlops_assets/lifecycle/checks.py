"""Asset checks: each asks a stage's `check`, which reads what is stored, so it can ask again."""

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

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
    ) -> Iterator[dg.AssetCheckResult]:
        partitions = context.op_execution_context.partition_keys
        for verdict in verdicts(use_case, asset, partitions, tables, files, clock):
            yield dg.AssetCheckResult(
                check_name=verdict.check,
                asset_key=key(use_case, asset),
                passed=verdict.passed,
                severity=severity[verdict.check],
                description=verdict.description,
                metadata=shown(verdict.metadata),
            )

    return _checks


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
