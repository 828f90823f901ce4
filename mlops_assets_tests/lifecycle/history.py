"""Tells Dagster of runs, materialisations and check evaluations that never took place."""

from __future__ import annotations

from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationPlanned,
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.definitions.partitions.subset.default import DefaultPartitionsSubset
from dagster._core.events import StepMaterializationData
from dagster._core.test_utils import create_run_for_test


def run(
    instance: dg.DagsterInstance,
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.SUCCESS,
    job: str = "told",
    **more: Any,
) -> str:
    """A run in a state; returns its id."""
    return create_run_for_test(instance, job_name=job, status=status, **more).run_id


def end(instance: dg.DagsterInstance, run_id: str, kind: dg.DagsterEventType) -> None:
    """The run comes to its end."""
    _report(instance, run_id, kind, None)


def planned(
    instance: dg.DagsterInstance, check: dg.AssetCheckKey, partition: str, run_id: str
) -> None:
    """A run is going to evaluate a check."""
    subset = DefaultPartitionsSubset({partition})
    data = AssetCheckEvaluationPlanned(
        asset_key=check.asset_key, check_name=check.name, partitions_subset=subset
    )
    _report(instance, run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED, data)


def materialized(
    instance: dg.DagsterInstance, asset: dg.AssetKey, partition: str | None, run_id: str
) -> None:
    found = StepMaterializationData(dg.AssetMaterialization(asset, partition=partition))
    _report(instance, run_id, dg.DagsterEventType.ASSET_MATERIALIZATION, found)


def evaluated(
    instance: dg.DagsterInstance,
    check: dg.AssetCheckKey,
    partition: str | None,
    run_id: str,
    *,
    passed: bool,
    blocking: bool = False,
    description: str = "as told",
) -> None:
    """A check of what was materialised last."""
    found = dg.AssetCheckEvaluation(
        check.asset_key,
        check.name,
        passed,
        partition=partition,
        blocking=blocking,
        description=description,
        target_materialization_data=_target(instance, check.asset_key, partition),
    )
    _report(instance, run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION, found)


def _target(
    instance: dg.DagsterInstance, asset: dg.AssetKey, partition: str | None
) -> AssetCheckEvaluationTargetMaterializationData | None:
    partitions = None if partition is None else [partition]
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset, asset_partitions=partitions), limit=1
    ).records
    return next(
        (
            AssetCheckEvaluationTargetMaterializationData(
                storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
            )
            for record in records
        ),
        None,
    )


def _report(
    instance: dg.DagsterInstance, run_id: str, kind: dg.DagsterEventType, data: Any
) -> None:
    event = dg.DagsterEvent(kind.value, job_name="told", event_specific_data=data, message="told")
    instance.report_dagster_event(event, run_id=run_id)
