"""deployment: what is live. Like the promotion it trusts nobody, and verifies all of it again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from mlops_assets import ledger
from mlops_assets.ledger import Entry
from mlops_assets.lifecycle.assets import key, settings
from mlops_assets.lifecycle.champion import read_gate
from mlops_assets.lifecycle.checks import Check, specs
from mlops_assets.lifecycle.metadata import announced
from mlops_assets.lifecycle.service import SERVICE, record_path
from mlops_assets.use_cases import UseCase
from resources import bento
from resources.artifacts import Artifacts
from resources.delta import DeltaStore
from resources.deployments.base import Deployments
from resources.deployments.release import Release, Status
from resources.files import Files
from resources.tables import Tables

DEPLOYMENT = "deployment"
CHECKS = (
    Check(
        "smoke",
        "The golden request, asked at the live address, has the champion's own numbers.",
        blocking=True,
    ),
    Check(
        "live_digest_matches_ledger",
        "What is live is the Bento of the version that the ledger says is in charge.",
    ),
)


class DeploymentRefusedError(dg.Failure):
    """Not everything is as it was when this model was approved and packed."""


def build(use_case: UseCase) -> Iterator[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    yield _deployment(use_case)
    yield _checks(use_case)


def release(
    use_case: UseCase, entry: Entry, files: Artifacts, instance: dg.DagsterInstance
) -> Release:
    """What was packed of a model that was in charge, once gate, record and Bento are verified.

    Raises PromotionRefusedError where the gate result is not the one of the ledger, or
    DeploymentRefusedError where the service is missing or is no longer what was built.
    """
    read_gate(use_case, entry.as_of, files, entry.gate_sha256)
    found = recorded(use_case, entry, files)
    version = announced(instance, key(use_case, SERVICE), entry.as_of)
    if not version or not found.digest.startswith(version):
        raise DeploymentRefusedError(
            f"the record of the service of {entry.as_of} has changed since it was made (Bento"
            f" {found.digest[:16]}, announced {version or 'never'}); {_again(use_case)}"
        )
    path = Path(found.bento)
    if not path.exists() or bento.digest(path) != found.digest:
        raise DeploymentRefusedError(
            f"{path} is not what was built; delete it and {_again(use_case)}"
        )
    return found


def recorded(use_case: UseCase, entry: Entry, files: Artifacts) -> Release:
    """What is recorded to have been packed of a model; raises DeploymentRefusedError if nothing."""
    path = record_path(use_case, entry.as_of)
    if not files.exists(path):
        raise DeploymentRefusedError(
            f"no service was built of version {entry.model_version} ({entry.as_of});"
            f" {_again(use_case)}"
        )
    record = files.read_json(path)
    if record["bento"]["model_sha256"] != entry.model_sha256:
        raise DeploymentRefusedError(
            f"the service of {entry.as_of} holds another model than version {entry.model_version}"
            f" of the ledger; {_again(use_case)}"
        )
    return Release(
        bento=record["bento"]["path"],
        digest=record["bento"]["digest"],
        model_version=entry.model_version,
        golden_scores=tuple(record["golden_scores"]),
    )


def _again(use_case: UseCase) -> str:
    return f"materialise {use_case.name} / {SERVICE} of that week again"


def in_charge(use_case: UseCase, tables: DeltaStore) -> Entry:
    """Who is champion now. Raises Failure before the first promotion."""
    entries = ledger.entries(tables, use_case)
    if not entries:
        raise dg.Failure(
            f"{use_case.name} has no champion; materialise {use_case.name} / champion first"
        )
    return entries[-1]


def _deployment(use_case: UseCase) -> dg.AssetsDefinition:
    @dg.asset(
        **settings(
            use_case,
            DEPLOYMENT,
            phase="serving",
            kinds={"bentoml"},
            description="What is live: the champion's service, at an address that stays. A new"
            " version takes over only once it has proven itself beside the old one, which is kept"
            " for a roll-back; no request is lost.",
        ),
        deps=[key(use_case, SERVICE)],
        automation_condition=_when_a_service_was_built(),
    )
    def _asset(
        context: dg.AssetExecutionContext, tables: Tables, files: Files, deployments: Deployments
    ) -> dg.MaterializeResult[None]:
        champion = in_charge(use_case, tables.store())
        wanted = release(use_case, champion, files.store(), context.instance)
        status = deployments.roll_out(use_case.name, wanted)
        return dg.MaterializeResult(
            metadata=_metadata(status), data_version=dg.DataVersion(wanted.digest[:16])
        )

    return _asset


def _when_a_service_was_built() -> dg.AutomationCondition[Any]:
    """After a training; what was built before automation was switched on is deployed by hand.

    Whether its blocking check passed is not asked here: for weeks without a service it never did,
    and the roll-out asks the same golden request itself.
    """
    return (
        dg.AutomationCondition.any_deps_updated().since_last_handled()
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~dg.AutomationCondition.in_progress()
    ).with_label("a service was built")


def _metadata(status: Status) -> dict[str, Any]:
    assert status.live is not None
    previous = status.previous
    return {
        "url": dg.MetadataValue.url(status.url or ""),
        "digest": status.live.digest,
        "model_version": status.live.model_version,
        "previous": f"version {previous.model_version}" if previous else "none",
    }


def _checks(use_case: UseCase) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        name=f"{use_case.name}__deployment_checks",
        specs=specs(use_case, DEPLOYMENT, CHECKS, None),
    )
    def _check(
        tables: Tables, files: Files, deployments: Deployments
    ) -> Iterator[dg.AssetCheckResult]:
        expected = recorded(use_case, in_charge(use_case, tables.store()), files.store())
        status = deployments.status(use_case.name)
        answer = deployments.ask_golden(use_case.name) if status.ready else None
        for check, (passed, text) in zip(
            CHECKS, (_smoke(status, answer, expected), _matches(status, expected)), strict=True
        ):
            yield dg.AssetCheckResult(
                check_name=check.name,
                asset_key=key(use_case, DEPLOYMENT),
                passed=passed,
                description=text,
            )

    return _check


def _smoke(
    status: Status, answer: tuple[str, list[float]] | None, expected: Release
) -> tuple[bool, str]:
    if answer is None:
        return False, f"nothing answers: {status.problem or 'no release is live'}"
    version, scores = answer
    return (
        version == expected.model_version and scores == list(expected.golden_scores),
        f"version {version} answers {scores}; expected version {expected.model_version} and"
        f" {list(expected.golden_scores)}",
    )


def _matches(status: Status, expected: Release) -> tuple[bool, str]:
    live = f"{status.live.digest[:16]}… is live" if status.live else "nothing is live"
    return (
        status.live is not None and status.live.digest == expected.digest,
        f"{live}; the ledger's is {expected.digest[:16]}… (version {expected.model_version})",
    )
