"""Experiment tracking: one MLflow run an asset and partition, always ended with its true status."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dagster import ConfigurableResource
from pydantic import Field

from resources.mlflow_client import client, default_artifacts, default_ui, default_uri, quoted

if TYPE_CHECKING:
    from dagster import AssetExecutionContext
    from mlflow import MlflowClient

ASSET_KEY = "dagster.asset_key"
PARTITION = "dagster.partition"
PARENT = "mlflow.parentRunId"

_MLFLOW_TYPES = {
    "int": "long",
    "float": "double",
    "bool": "boolean",
    "str": "string",
    "timestamp": "datetime",
}
_BATCH = 100  # the most parameters or tags that MLflow takes at once
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class TrackedRun:
    """A run that is going on."""

    id: str
    experiment_id: str
    url: str
    """Its page in the MLflow UI."""
    _client: MlflowClient

    def params(self, values: Mapping[str, object]) -> None:
        """Record what was chosen. A parameter cannot change; recording it again is harmless."""
        _log(self._client, self.id, params=values)

    def metrics(self, values: Mapping[str, float]) -> None:
        """Record what was measured."""
        _log(self._client, self.id, metrics=values)

    def tags(self, values: Mapping[str, str]) -> None:
        _log(self._client, self.id, tags=values)

    def child(self, name: str, params: Mapping[str, object], metrics: Mapping[str, float]) -> str:
        """Record a part of this run that has finished, such as a trial; return its id."""
        run = self._client.create_run(self.experiment_id, run_name=name, tags={PARENT: self.id})
        _log(self._client, run.info.run_id, params=params, metrics=metrics)
        self._client.set_terminated(run.info.run_id, "FINISHED")
        return str(run.info.run_id)

    def file(self, path: str, data: bytes) -> None:
        """Keep a file with the run, at a relative path such as `plots/calibration.png`."""
        where = PurePosixPath(path)
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder, where.name)
            local.write_bytes(data)
            parent = None if where.parent == PurePosixPath() else str(where.parent)
            self._client.log_artifact(self.id, str(local), parent)

    def dataset(
        self,
        name: str,
        *,
        uri: str,
        version: int,
        digest: str,
        schema: Mapping[str, str],
        context: str = "training",
    ) -> None:
        """Record a version of a Delta table as an input.

        `digest` (36 characters at most) names the rows that were read, `schema` maps columns to
        "int", "float", "bool", "str" or "timestamp".
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = json.dumps({"path": uri, "delta_table_version": version})
        columns = [{"name": n, "type": _MLFLOW_TYPES[t]} for n, t in schema.items()]
        dataset = Dataset(
            name, digest, "delta_table", source, schema=json.dumps({"mlflow_colspec": columns})
        )
        tags = [InputTag("mlflow.data.context", context)]
        self._client.log_inputs(self.id, [DatasetInput(dataset, tags)])


class Tracking(ConfigurableResource[Any]):
    """MLflow tracking by explicit run ids, so that partitions and retries never share a run."""

    tracking_uri: str = Field(
        default_factory=default_uri,
        description="MLflow's tracking server or database; SQLite under MLOPS_HOME by default.",
    )
    artifacts: str | None = Field(
        default_factory=default_artifacts,
        description="Where new experiments keep files; unset: where the tracking server says.",
    )
    ui: str = Field(
        default_factory=default_ui,
        description="Address of the MLflow UI, for links; MLOPS_MLFLOW_UI by default.",
    )

    @contextmanager
    def run(self, experiment: str, name: str, tags: Mapping[str, str]) -> Iterator[TrackedRun]:
        """A run that ends FINISHED, FAILED on an exception or KILLED on an interrupt.

        `tags` hold at least ASSET_KEY and PARTITION, as those of `tags_of` do: runs of the same
        two that a killed process left RUNNING are closed first.
        """
        mlflow = client(self.tracking_uri)
        experiment_id = self._experiment(mlflow, experiment)
        _close_leftovers(mlflow, experiment_id, tags[ASSET_KEY], tags[PARTITION])
        run_id = mlflow.create_run(experiment_id, run_name=name, tags=dict(tags)).info.run_id
        url = f"{self.ui}/#/experiments/{experiment_id}/runs/{run_id}"
        status = "KILLED"
        try:
            yield TrackedRun(run_id, experiment_id, url, mlflow)
            status = "FINISHED"
        except Exception:
            status = "FAILED"
            raise
        finally:
            mlflow.set_terminated(run_id, status)

    def _experiment(self, mlflow: MlflowClient, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = mlflow.get_experiment_by_name(name)
        if found is None:
            location = self.artifacts and f"{self.artifacts.rstrip('/')}/{name}"
            try:
                return str(mlflow.create_experiment(name, artifact_location=location))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            found = mlflow.get_experiment_by_name(name)  # another process was faster
        return str(found.experiment_id)


def tags_of(context: AssetExecutionContext) -> dict[str, str]:
    """What links a run to the Dagster run, asset, partition, backfill and code it came from."""
    asset, run = context.asset_key, context.run
    tags = {
        ASSET_KEY: asset.to_user_string(),
        PARTITION: _partition(context),
        "dagster.run_id": run.run_id,
        "dagster.url": f"{_dagster_ui()}/runs/{run.run_id}",
        "dagster.backfill_id": run.tags.get("dagster/backfill"),
        "dagster.code_version": context.assets_def.code_versions_by_key[asset],
    }
    return {name: value for name, value in tags.items() if value is not None}


def _partition(context: AssetExecutionContext) -> str:
    """One partition's key, the two ends of a range of them, or nothing."""
    if not (context.has_partition_key or context.has_partition_key_range):
        return ""
    keys = context.partition_key_range
    return keys.start if keys.start == keys.end else f"{keys.start}...{keys.end}"


def _dagster_ui() -> str:
    return os.environ.get("MLOPS_DAGSTER_UI", "http://localhost:3000")


def _close_leftovers(mlflow: MlflowClient, experiment: str, asset: str, partition: str) -> None:
    """End as KILLED what a process that was killed left RUNNING, and its children."""
    same = f"tags.`{ASSET_KEY}` = {quoted(asset)} AND tags.`{PARTITION}` = {quoted(partition)}"
    for parent in _running(mlflow, experiment, same):
        for child in _running(mlflow, experiment, f"tags.`{PARENT}` = '{parent}'"):
            mlflow.set_terminated(child, "KILLED")
        mlflow.set_terminated(parent, "KILLED")


def _running(mlflow: MlflowClient, experiment: str, condition: str) -> list[str]:
    found = mlflow.search_runs([experiment], f"attributes.status = 'RUNNING' AND {condition}")
    return [run.info.run_id for run in found]


def _log(
    mlflow: MlflowClient,
    run_id: str,
    params: Mapping[str, object] = _NOTHING,
    metrics: Mapping[str, float] = _NOTHING,
    tags: Mapping[str, str] = _NOTHING,
) -> None:
    """Record values in as few requests as MLflow takes."""
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    chosen = [Param(name, str(value)) for name, value in params.items()]
    measured = [Metric(name, value, now, 0) for name, value in metrics.items()]
    tagged = [RunTag(name, value) for name, value in tags.items()]
    for start in range(0, max(len(chosen), len(measured), len(tagged)), _BATCH):
        part = slice(start, start + _BATCH)
        mlflow.log_batch(run_id, measured[part], chosen[part], tagged[part])
