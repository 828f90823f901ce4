"""What every compute backend promises, asked of each."""

import os
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import psutil
import pytest

from mlops_assets_tests.resources import fake_worker
from resources.compute.base import Compute, TaskFailedError, TaskTimeoutError, WorkerLostError
from resources.compute.local import LocalCompute
from resources.compute.task import ComputeProfile, Task, TaskResult

pytestmark = pytest.mark.conformance

ISOLATING = {"subprocess": LocalCompute(subprocess=True)}
"""Backends that can end a task and survive its death."""
BACKENDS = {"in process": LocalCompute(), **ISOLATING}


@pytest.fixture(params=BACKENDS)
def compute(request: pytest.FixtureRequest) -> Compute:
    return BACKENDS[request.param]


@pytest.fixture(params=ISOLATING)
def isolating(request: pytest.FixtureRequest) -> Compute:
    return ISOLATING[request.param]


@dataclass
class Bench:
    """Runs tasks of the fake worker inside a real Dagster run."""

    folder: Path
    instance: dg.DagsterInstance = field(default_factory=dg.DagsterInstance.ephemeral)

    def run(self, compute: Compute, stage: str, *, params: dict | None = None, **profile: object):
        task = Task(
            use_case="parcels",
            stage=stage,
            partitions=("2013-04-01",),
            tables="memory",
            artifacts=str(self.folder),
            now="2013-04-02T00:00:00+00:00",
            params=params or {},
            profile=ComputeProfile(**profile),
            module=fake_worker.__name__,
        )
        results: list[TaskResult] = []

        @dg.asset
        def asset(context: dg.AssetExecutionContext, compute: Compute) -> dg.MaterializeResult:
            results.append(compute.run(context, task))
            return dg.MaterializeResult()

        dg.materialize([asset], resources={"compute": compute}, instance=self.instance)
        (result,) = results
        return result

    @property
    def logs(self) -> list[tuple[int, str]]:
        (run,) = self.instance.get_run_ids()
        return [(log.level, log.user_message) for log in self.instance.all_logs(run)]

    @property
    def attempts(self) -> list[str]:
        return (self.folder / "attempts").read_text().splitlines()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_brings_back_the_whole_result(compute: Compute, bench: Bench) -> None:
    result = bench.run(compute, "succeed", params={"größe": [1, "ü"]}, cpu=2.0)
    assert result.data_version == "v1"
    assert result.metadata["rows"] == 3
    assert result.metadata["note"] == {"type": "md", "raw_value": "**grün** ✓"}
    assert result.partitions == {"2013-04-01": {"data_version": "p1", "rows": 3}}
    assert result.outputs["params"] == {"größe": [1, "ü"]}
    assert result.outputs["cpu"] == 2.0


def test_says_how_long_it_took(compute: Compute, bench: Bench) -> None:
    assert bench.run(compute, "succeed").metadata["compute_seconds"] >= 0


def test_passes_logs_on(compute: Compute, bench: Bench) -> None:
    bench.run(compute, "succeed")
    assert (20, "working on 2013-04-01") in bench.logs
    assert (30, "half of 2013-04-01 is missing") in bench.logs


def test_large_results_and_logs_arrive_whole(compute: Compute, bench: Bench) -> None:
    result = bench.run(compute, "large", params={"characters": 2_000_000})
    assert result.metadata["image"] == "é☃" * 2_000_000
    assert (20, "ü" * 100_000) in bench.logs


def test_a_failure_carries_its_message_and_traceback(compute: Compute, bench: Bench) -> None:
    with pytest.raises(TaskFailedError) as failure:
        bench.run(compute, "fail")
    assert str(failure.value) == (
        "fail of parcels, 2013-04-01: ValueError: column 'größe' of 2013-04-01 is empty"
    )
    trace = "".join(traceback.format_exception(failure.value))
    assert "fake_worker.py" in trace
    assert "in fail" in trace


def test_a_failure_is_not_tried_again(compute: Compute, bench: Bench) -> None:
    with pytest.raises(TaskFailedError):
        bench.run(compute, "fail", retries=3)
    assert len(bench.attempts) == 1


def test_a_result_that_cannot_travel_is_a_failure(compute: Compute, bench: Bench) -> None:
    with pytest.raises(TaskFailedError, match="Decimal is not JSON serializable"):
        bench.run(compute, "not_json")


def test_a_task_that_takes_too_long_is_ended(isolating: Compute, bench: Bench) -> None:
    with pytest.raises(TaskTimeoutError, match="hang of parcels, 2013-04-01: ended after 3 s"):
        bench.run(isolating, "hang", timeout=3)
    assert len(bench.attempts) == 1
    for pid in (*bench.attempts, (bench.folder / "inner").read_text()):
        _wait_for_the_end_of(int(pid))


@pytest.mark.faults
def test_a_lost_worker_is_told_from_a_failure(isolating: Compute, bench: Bench) -> None:
    with pytest.raises(WorkerLostError, match="killed by SIGKILL"):
        bench.run(isolating, "die", retries=2)
    assert len(bench.attempts) == 3


@pytest.mark.faults
def test_a_task_that_lost_its_worker_is_tried_again(isolating: Compute, bench: Bench) -> None:
    assert bench.run(isolating, "die_once", retries=1).data_version == "v1"
    assert len(bench.attempts) == 2
    assert any("trying again, 1 attempts left" in message for _, message in bench.logs)


def test_a_worker_that_leaves_without_a_result_is_lost(isolating: Compute, bench: Bench) -> None:
    with pytest.raises(WorkerLostError, match="ended with exit status 3 before it had a result"):
        bench.run(isolating, "leave", retries=0)


def test_a_worker_has_a_process_of_its_own(isolating: Compute, bench: Bench) -> None:
    assert bench.run(isolating, "succeed").outputs["pid"] != os.getpid()


def _wait_for_the_end_of(pid: int) -> None:
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.05)
