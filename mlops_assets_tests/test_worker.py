from __future__ import annotations

import logging
import os
import sys
from types import SimpleNamespace

import pytest
from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: F401  # loads OpenMP
from threadpoolctl import threadpool_info

from mlops_assets import worker
from mlops_assets.stages import Stage
from resources.compute.task import ComputeProfile, Task, TaskResult


def run_here(stage: Stage) -> TaskResult:
    return TaskResult(
        data_version="1",
        outputs={
            "threads": {pool["num_threads"] for pool in threadpool_info()},
            "env": os.environ["OMP_NUM_THREADS"],
            "partition": stage.partition,
        },
    )


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Task:
    probe = SimpleNamespace(run=run_here)
    monkeypatch.setitem(sys.modules, "mlops_assets.stages.probe", probe)
    return Task(
        use_case="parcels",
        stage="probe",
        partitions=("2013-04-01",),
        tables="",
        artifacts="",
        now="2013-04-02T00:00:00+00:00",
    )


@pytest.mark.parametrize(("cpu", "threads"), [(0.5, 1), (1.0, 1), (2.9, 2)])
def test_a_stage_has_as_many_threads_as_its_profile_has_cores(
    task: Task, cpu: float, threads: int
) -> None:
    before = threadpool_info(), os.environ.get("OMP_NUM_THREADS")
    outputs = worker.run(Task(**vars(task) | {"profile": ComputeProfile(cpu=cpu)})).outputs
    assert outputs == {"threads": {threads}, "env": str(threads), "partition": "2013-04-01"}
    assert (threadpool_info(), os.environ.get("OMP_NUM_THREADS")) == before


def test_a_worker_says_what_it_works_on(task: Task, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        worker.run(task)
    assert caplog.messages == ["probe of parcels, 2013-04-01"]


@pytest.mark.parametrize(
    ("partitions", "shown"),
    [
        ((), "everything"),
        (("a", "b"), "a and b"),
        (("a", "b", "c"), "3 partitions from a to c"),
    ],
)
def test_a_task_names_its_partitions(task: Task, partitions: tuple[str, ...], shown: str) -> None:
    assert str(Task(**vars(task) | {"partitions": partitions})) == f"probe of parcels, {shown}"
