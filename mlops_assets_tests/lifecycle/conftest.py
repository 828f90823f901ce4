"""Life cycles are tested as Dagster runs them, on an instance that is thrown away."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlops_assets.lifecycle import lifecycle
from mlops_assets.use_cases import UseCase
from mlops_assets_tests.toy import TOY
from resources.clock import Clock
from resources.compute.local import LocalCompute
from resources.deployments.local import LocalDeployments
from resources.files import Files
from resources.images import Images
from resources.registry import Registry
from resources.tables import Tables
from resources.tracking import Tracking

NOW = "2024-06-01T00:00:00+00:00"
WEEK = "2024-02-05"
DAYS = ("2024-01-01", "2024-02-11")


def resources(root: Path) -> dict[str, Any]:
    """Everything real, under one directory."""
    uri = f"sqlite:///{root / 'mlflow.db'}"
    return {
        "clock": Clock(fixed=NOW),
        "compute": LocalCompute(),
        "deployments": LocalDeployments(home=str(root / "deployments")),
        "files": Files(uri=str(root / "artifacts")),
        "images": Images(home=str(root / "bentoml")),
        "registry": Registry(tracking_uri=uri),
        "tables": Tables(uri=str(root / "tables")),
        "tracking": Tracking(tracking_uri=uri, artifacts=str(root / "mlartifacts")),
    }


@dataclass
class Operator:
    """Materialises assets of life cycles, as somebody in front of the UI would."""

    root: Path
    instance: dg.DagsterInstance
    use_case: UseCase = TOY
    resources: Mapping[str, Any] = field(default_factory=dict)

    def materialize(
        self, assets: Sequence[str], first: str | None = None, last: str | None = None
    ) -> dg.ExecuteInProcessResult:
        """One run, over a partition or a range of them where there are any; never raises."""
        tags = {} if first is None else {"dagster/partition": first}
        if first is not None and last is not None:
            tags = {
                "dagster/asset_partition_range_start": first,
                "dagster/asset_partition_range_end": last,
            }
        keys = [dg.AssetKey([self.use_case.name, asset]) for asset in assets]
        return self._run(dg.AssetSelection.assets(*keys), tags)

    def check(self, asset: str) -> dg.ExecuteInProcessResult:
        """Ask the checks of an asset without partitions."""
        key = dg.AssetKey([self.use_case.name, asset])
        return self._run(dg.AssetSelection.checks_for_assets(key), {})

    def _run(
        self, selection: dg.AssetSelection, tags: Mapping[str, str]
    ) -> dg.ExecuteInProcessResult:
        defs = dg.Definitions.merge(
            lifecycle(self.use_case),
            dg.Definitions(
                resources={**resources(self.root), **self.resources},
                executor=dg.in_process_executor,
                jobs=[dg.define_asset_job("chosen", selection)],
            ),
        )
        return defs.resolve_job_def("chosen").execute_in_process(
            instance=self.instance,
            tags=tags,
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )

    def ingest(self) -> dg.ExecuteInProcessResult:
        return self.materialize(["dataset", "features", "labels"], *DAYS)


def failed_checks(result: dg.ExecuteInProcessResult) -> set[str]:
    return {found.check_name for found in result.get_asset_check_evaluations() if not found.passed}


def materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    """Names of the assets that were materialised."""
    return {event.asset_key.path[-1] for event in result.get_asset_materialization_events()}


def why(result: dg.ExecuteInProcessResult) -> str:
    """What the steps that failed said."""
    errors = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    return "\n".join(str(error) for error in errors)


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    warnings.simplefilter("ignore", dg.BetaWarning)
    warnings.simplefilter("ignore", dg.PreviewWarning)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Operator(tmp_path, instance)
