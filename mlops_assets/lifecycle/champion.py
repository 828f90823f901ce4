"""champion: the promotion. It trusts nobody: gate, hashes and ledger are read again."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from mlops_assets import ledger
from mlops_assets.ledger import Entry
from mlops_assets.lifecycle.assets import key, settings
from mlops_assets.lifecycle.checks import Check, specs
from mlops_assets.lifecycle.metadata import announced
from mlops_assets.lifecycle.partitions import as_of_weeks
from mlops_assets.use_cases import UseCase
from resources.artifacts import Artifacts, canonical_json, sha256
from resources.clock import Clock
from resources.files import Files
from resources.registry import Registry
from resources.tables import Tables

CHAMPION = "champion"
CHECKS = (
    Check(
        "alias_matches_ledger",
        "The registry's alias `champion` names the version that the ledger says is in charge.",
        blocking=True,
    ),
)


class PromotionRefusedError(dg.Failure):
    """The gate does not allow this promotion."""


def build(use_case: UseCase) -> Iterator[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    partitions = as_of_weeks(use_case)
    yield _champion(use_case, partitions)
    yield _alias_matches_ledger(use_case, partitions)


def _champion(use_case: UseCase, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        **settings(
            use_case,
            CHAMPION,
            phase="training",
            kinds={"mlflow", "deltalake"},
            description="The decision that a model is in charge from a Monday on: written to the"
            " ledger, then to the registry, only if the stored gate result allows it.",
        ),
        partitions_def=partitions,
        deps=[key(use_case, "candidate"), key(use_case, "evaluation")],
    )
    def _asset(
        context: dg.AssetExecutionContext,
        tables: Tables,
        files: Files,
        clock: Clock,
        registry: Registry,
    ) -> dg.MaterializeResult[None]:
        week = context.partition_key
        version = announced(context.instance, key(use_case, "evaluation"), week)
        gate_sha256, gate = read_gate(use_case, week, files.store(), version)
        entries = ledger.entries(tables.store(), use_case)
        refuse_rolled_back(entries, gate_sha256)
        model = registry.find(use_case.name, sha256=gate["candidate_sha256"], as_of=week)
        files.store().read_uri(model.source, model.sha256)
        entry = Entry(
            action="promote",
            effective_at=use_case.calendar.week(week)[0],
            as_of=week,
            model_version=model.version,
            model_sha256=model.sha256,
            gate_sha256=gate_sha256,
            decided_at=clock.now(),
            reason=_reason(gate),
            by=f"Dagster run {context.run.run_id}",
        )
        ledger.record(tables.store(), use_case, entry)
        in_charge = point_alias(use_case, tables, registry)
        return dg.MaterializeResult(
            metadata={
                "model_version": model.version,
                "in_charge": in_charge,
                "reason": entry.reason,
                "model_sha256": model.sha256,
                "gate_sha256": gate_sha256,
                "registry": dg.MetadataValue.url(model.url),
            },
            data_version=dg.DataVersion(sha256(canonical_json([model.sha256, gate_sha256]))[:16]),
        )

    return _asset


def read_gate(
    use_case: UseCase, week: str, files: Artifacts, expected: str
) -> tuple[str, Mapping[str, Any]]:
    """The stored gate result and its hash, if it is the one that was announced and was passed."""
    path = f"{use_case.name}/evaluation/{week}/gate.json"
    if not files.exists(path):
        raise PromotionRefusedError(
            f"there is no gate result for {week}; materialise {use_case.name} / evaluation first"
        )
    digest = sha256(files.read(path))
    if not expected or not digest.startswith(expected):
        raise PromotionRefusedError(
            f"the gate result of {week} has changed since it was made (SHA-256 {digest[:16]},"
            f" announced {expected or 'never'}); materialise {use_case.name} / evaluation again"
        )
    gate = files.read_json(path, digest)
    failed = [rule["rule"] for rule in gate["rules"] if not rule["passed"]]
    if failed or not gate["passed"]:
        raise PromotionRefusedError(f"the gate of {week} was not passed: {', '.join(failed)}")
    return digest, gate


def refuse_rolled_back(entries: Sequence[Entry], gate_sha256: str) -> None:
    """A version that was rolled back comes back by a new evaluation only."""
    promoted = [n for n, entry in enumerate(entries) if entry.gate_sha256 == gate_sha256]
    if promoted and any(entry.action == "rollback" for entry in entries[promoted[-1] + 1 :]):
        raise PromotionRefusedError(
            "this model was rolled back after this evaluation; train and evaluate again first"
        )


def point_alias(use_case: UseCase, tables: Tables, registry: Registry) -> str:
    """Let the registry's alias follow the ledger; return the version in charge."""
    version = ledger.entries(tables.store(), use_case)[-1].model_version
    registry.set_alias(use_case.name, CHAMPION, version)
    return version


def _reason(gate: Mapping[str, Any]) -> str:
    if gate["champion"] is None:
        return "the first model: better than the dummy and above the floors"
    return f"passed the gate against version {gate['champion']['model_version']}"


def _alias_matches_ledger(
    use_case: UseCase, partitions: dg.PartitionsDefinition
) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        name=f"{use_case.name}__champion_checks",
        specs=specs(use_case, CHAMPION, CHECKS, partitions),
    )
    def _check(tables: Tables, registry: Registry) -> Iterator[dg.AssetCheckResult]:
        entries = ledger.entries(tables.store(), use_case)
        expected = entries[-1].model_version if entries else None
        found = registry.alias(use_case.name, CHAMPION)
        yield dg.AssetCheckResult(
            check_name=CHECKS[0].name,
            asset_key=key(use_case, CHAMPION),
            passed=expected is not None and found == expected,
            description=f"alias: version {found}; ledger: version {expected}",
        )

    return _check
