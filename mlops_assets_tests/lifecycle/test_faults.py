"""Killed anywhere, run again: the same state as if nothing had happened."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mlops_assets import ledger
from mlops_assets_tests.lifecycle.conftest import DAYS, WEEK, resources
from mlops_assets_tests.toy import TOY
from resources.delta import content_hash

pytestmark = pytest.mark.faults

INGEST, TRAIN = (
    ("dataset", "features", "labels"),
    ("training_set", "candidate", "evaluation", "champion"),
)
RUNS = ((INGEST, DAYS), (TRAIN, (WEEK,)))

KILLS = {
    "before the dataset is committed": "resources.delta:DeltaStore._commit:before:2",
    "after the dataset is committed": "resources.delta:DeltaStore._commit:after:2",
    "in the middle of the trials": "mlops_assets.ml.training:score:before:5",
    "after the model is registered": "resources.registry:Registry.register:after:1",
    "between ledger and alias": "mlops_assets.ledger:record:after:1",
}  # fmt: skip
"""Which call is killed: module, function, before or after it, and at which time it is called."""


def main(root: str, kill: str = "") -> None:
    """Run all steps in this process; with `kill`, die at that call."""
    import dagster as dg

    from mlops_assets_tests.lifecycle.conftest import Operator

    if kill:
        _arm(kill)
    with dg.DagsterInstance.local_temp(_folder(root, "dagster")) as instance:
        operator = Operator(Path(root), instance)
        for assets, partitions in RUNS:
            result = operator.materialize(assets, *partitions)
            assert result.success, result.all_events[-1]


def _folder(root: str, name: str) -> str:
    path = Path(root, name)
    path.mkdir(exist_ok=True)
    return str(path)


def _arm(kill: str) -> None:
    """Let the named call kill this process, as a machine that dies does."""
    import importlib
    import os

    module, function, when, number = kill.split(":")
    owner = importlib.import_module(module)
    *parents, name = function.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original, left = getattr(owner, name), [int(number)]

    def deadly(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if when == "before" and left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if when == "after" and left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


def run(root: Path, kill: str = "") -> int:
    root.mkdir(exist_ok=True)
    code = f"from {__name__} import main; main({str(root)!r}, {kill!r})"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def state(root: Path) -> Mapping[str, Any]:
    """All that matters of what is stored."""
    found = resources(root)
    store, registry = found["tables"].store(), found["registry"]
    tables = {
        name: content_hash(store.read(f"parcels/{name}"), ["partition", *TOY.key])
        for name in ("dataset", "features", "labels")
    }
    entries = ledger.entries(store, TOY)
    return {
        **tables,
        "ledger": [
            (e.action, e.as_of, e.model_version, e.model_sha256, e.gate_sha256) for e in entries
        ],
        "champion": registry.alias("parcels", "champion"),
        "challenger": registry.alias("parcels", "challenger"),
        "model": registry.version("parcels", "1").sha256,
    }


def statuses(root: Path) -> set[str]:
    from mlflow import MlflowClient

    mlflow = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    experiment = mlflow.get_experiment_by_name("parcels")
    return {run.info.status for run in mlflow.search_runs([experiment.experiment_id])}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Mapping[str, Any]:
    root = tmp_path_factory.mktemp("undisturbed")
    assert run(root) == 0
    return state(root)


@pytest.mark.parametrize("where", KILLS)
def test_killed_and_run_again(where, tmp_path, undisturbed):
    assert run(tmp_path / "home", KILLS[where]) == -signal.SIGKILL
    assert run(tmp_path / "home") == 0
    assert state(tmp_path / "home") == undisturbed
    assert "RUNNING" not in statuses(tmp_path / "home")
