"""The Bento, built and served by BentoML: real processes, real HTTP."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from mlops_assets.service import bundle, log
from resources import bento
from resources.bento import BuiltService, ServiceError

from .conftest import ROW, Toy


def test_answers_the_golden_request_with_the_models_own_numbers(
    toy: Toy, built: BuiltService
) -> None:
    assert bento.ask_golden(built.path) == json.loads(toy.files[bundle.GOLDEN])["scores"]


def test_runs_on_what_lies_in_the_bento_alone(built: BuiltService) -> None:
    source = Path(built.path) / "src"
    script = f"""
import json, sys
sys.path.insert(0, {str(source)!r})
import mlops_assets.service.main, mlops_assets.service.scoring as scoring
scoring.load(mlops_assets.service.main._bundle)
print(json.dumps({{name: getattr(m, "__file__", None) for name, m in sys.modules.items()}}))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", script], capture_output=True, text=True, check=True
    )
    modules = json.loads(done.stdout.splitlines()[-1])
    ours = [path for name, path in modules.items() if name.startswith("mlops_assets")]
    assert len(ours) > 5
    assert all(Path(path).is_relative_to(source) for path in ours)
    assert not {"dagster", "mlflow", "resources"} & set(modules)


def test_no_input_makes_it_fail(service: httpx.Client, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            "run",
            f"{service.base_url}/openapi.json",
            "--max-examples=60",
            "--seed=1",
            "--no-color",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout


def test_is_alive_ready_and_measured(service: httpx.Client) -> None:
    assert service.get("/livez").status_code == 200
    assert service.get("/readyz").status_code == 200
    service.post("/predict", json=ROW)
    metrics = service.get("/metrics").text
    assert 'model_score_count{model_version="7"}' in metrics
    assert "bentoml_service_request_total" in metrics


def test_shows_its_document(service: httpx.Client) -> None:
    assert service.get("/openapi.json").json() == service.get("/docs.json").json()
    page = service.get("/").text
    assert "swagger-ui" in page
    assert "googletagmanager" not in page


def test_a_changed_model_does_not_start(built: BuiltService, tmp_path: Path) -> None:
    copy = shutil.copytree(built.path, tmp_path / "copy")
    with (copy / "src" / bundle.MODEL).open("ab") as file:
        file.write(b"\0")
    with (
        pytest.raises(ServiceError, match=r"exited with 1(.|\n)*changed after the build"),
        bento.serving(copy),
    ):
        pass


@dataclass
class Load:
    """Clients that ask until the service is gone, and remember when each answer came."""

    url: str
    answered: dict[str, float] = field(default_factory=dict)

    def run(self, name: str) -> None:
        with httpx.Client(base_url=self.url) as client:
            for n in range(1_000_000):
                try:
                    answer = client.post(
                        "/predict", json=ROW, headers={"X-Request-ID": f"{name}{n}"}
                    )
                except httpx.TransportError:
                    return
                if answer.status_code == 200:
                    self.answered[answer.json()["request_id"]] = time.monotonic()

    def start(self, clients: int = 4) -> list[threading.Thread]:
        threads = [
            threading.Thread(target=self.run, args=(f"{chr(97 + n)}-",)) for n in range(clients)
        ]
        for thread in threads:
            thread.start()
        return threads


def under_load(running: bento.Running, directory: Path, end: Callable[[], None]) -> Load:
    """End the service while clients ask; return what they were answered."""
    load = Load(running.url)
    threads = load.start()
    while not (list(directory.iterdir()) and len(load.answered) > 100):
        time.sleep(0.02)
    end()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    return load


def workers(running: bento.Running) -> list[psutil.Process]:
    found: list[psutil.Process] = psutil.Process(running.process.pid).children(recursive=True)
    assert found
    return found


def logged(directory: Path) -> list[str]:
    """Request ids in the log, which has one writer and no gap."""
    records = [record for path in sorted(directory.iterdir()) for record, _ in log.read(path)]
    assert [record["sequence"] for record in records] == list(range(1, len(records) + 1))
    assert len({record["writer"] for record in records}) == 1
    return [record["request_id"] for record in records]


@pytest.mark.faults
def test_killed_under_load_it_loses_no_answer_older_than_the_stated_bound(
    built: BuiltService, tmp_path: Path
) -> None:
    killed: list[float] = []
    with bento.serving(built.path, prediction_log=tmp_path) as running:

        def kill() -> None:
            family = workers(running)
            killed.append(time.monotonic())
            for process in (running.process, *family):
                process.kill()

        load = under_load(running, tmp_path, kill)
    kept = set(logged(tmp_path))
    lost = [at for request_id, at in load.answered.items() if request_id not in kept]
    # 200 ms, plus what the write then under way and a busy machine may take.
    assert all(killed[0] - at < 0.2 + 1.0 for at in lost)
    assert kept


@pytest.mark.faults
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "orphaned"])
def test_ended_under_load_it_loses_nothing_and_leaves_no_process(
    built: BuiltService, tmp_path: Path, end: signal.Signals
) -> None:
    """SIGTERM asks for it; after SIGKILL of BentoML's supervisor the workers end themselves."""
    with bento.serving(built.path, prediction_log=tmp_path) as running:
        family = workers(running)
        load = under_load(running, tmp_path, lambda: running.process.send_signal(end))
        gone, alive = psutil.wait_procs(family, timeout=30)
    assert gone
    assert not alive
    assert set(load.answered) <= set(logged(tmp_path))
