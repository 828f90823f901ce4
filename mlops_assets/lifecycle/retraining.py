"""retraining: each failed check leads to one decision, and that to one training at most."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from mlops_assets import decisions
from mlops_assets.lifecycle.assets import key, settings
from mlops_assets.lifecycle.checks import Check, specs
from mlops_assets.lifecycle.controller import (
    RETRAINING,
    SUCCEEDS,
    WATCHED,
    Controller,
    Cursor,
    cause_id,
    metadata_of,
)
from mlops_assets.ml.policy import Cause
from mlops_assets.use_cases import UseCase
from resources.clock import Clock
from resources.tables import Tables

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition,
    )

INTERVAL = 30
CHECKS = (Check(SUCCEEDS, "The last retraining did not fail in all of its attempts."),)


class Wish(dg.Config):
    """A retraining that somebody wants."""

    reason: str = Field(
        default="asked for by hand",
        description="Why the model is to be trained again; kept in the ledger of decisions.",
    )


def build(use_case: UseCase) -> Iterator[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    yield _retraining(use_case)
    yield _retrain_succeeds(use_case)


def _retraining(use_case: UseCase) -> dg.AssetsDefinition:
    @dg.asset(
        **settings(
            use_case,
            RETRAINING,
            phase="monitoring",
            kinds={"deltalake"},
            description="The ledger of decisions: to train again, or why not. The sensor takes one"
            " for each failed check of drift and performance; materialising this asset asks for a"
            " training by hand, about which the sensor decides within a minute.",
        ),
        deps=[key(use_case, name) for name in WATCHED],
    )
    def _asset(
        context: dg.AssetExecutionContext, config: Wish, tables: Tables
    ) -> dg.MaterializeResult[None]:
        record = context.instance.get_run_record_by_id(context.run_id)
        at = datetime.now(UTC) if record is None else record.create_timestamp
        cause = Cause(
            id=cause_id(at, "manual", "", context.run_id), kind="manual", at=at, text=config.reason
        )
        asked = decisions.request(tables.store(), use_case, cause)
        return dg.MaterializeResult(metadata=metadata_of(asked))

    return _asset


def _retrain_succeeds(use_case: UseCase) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        name=f"{use_case.name}__retraining_checks",
        specs=specs(use_case, RETRAINING, CHECKS, None),
    )
    def _check(tables: Tables) -> Iterator[dg.AssetCheckResult]:
        works, text = decisions.retraining_works(decisions.recent(tables.store(), use_case))
        yield dg.AssetCheckResult(
            check_name=SUCCEEDS,
            asset_key=key(use_case, RETRAINING),
            passed=works,
            description=text,
        )

    return _check


def sensor(use_case: UseCase, job: "UnresolvedAssetJobDefinition") -> dg.SensorDefinition:
    """Decides about failed checks and wishes, and sees each retraining through to its end."""

    @dg.sensor(
        name=f"{use_case.name}_retraining",
        job=job,
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=INTERVAL,
        description="Turns each failed check of drift and performance into one decision, starts the"
        " training where that is the decision, and follows it.",
    )
    def _sensor(
        context: dg.SensorEvaluationContext, tables: Tables, clock: Clock
    ) -> dg.SensorResult:
        controller = Controller(use_case, context.instance, tables.store(), clock.now())
        return controller.tick(Cursor.of(context.cursor))

    return _sensor
