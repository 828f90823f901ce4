"""The Dagster UI with its daemon, and the MLflow UI beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from mlops_assets.operations.runs import console, instance
from resources.home import home
from resources.mlflow_client import client, default_uri

WORKSPACE = Path(__file__).parents[2] / "workspace.yaml"
STOP_TIMEOUT = 15


def ui(port: int = 3000, mlflow_port: int = 5000) -> None:
    """Serve both until interrupted; raises SystemExit with the code of one that ends by itself."""
    os.environ["MLOPS_HOME"] = str(home())
    os.environ.setdefault("MLOPS_DAGSTER_UI", f"http://localhost:{port}")
    os.environ.setdefault("MLOPS_MLFLOW_UI", f"http://localhost:{mlflow_port}")
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # eight idle processes
    instance().dispose()
    client(default_uri())  # creates the database, which servers that start together cannot
    console.print(f"Dagster: http://localhost:{port}   MLflow: http://localhost:{mlflow_port}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the blocks below end
    with ExitStack() as stack:
        running = [
            stack.enter_context(_Process(command)) for command in _commands(port, mlflow_port)
        ]
        _wait(running)


def _commands(port: int, mlflow_port: int) -> list[list[str]]:
    dagster = ["-m", "dagster", "dev", "--workspace", str(WORKSPACE), "--port", str(port)]
    store = ["--backend-store-uri", default_uri(), "--port", str(mlflow_port), "--workers", "1"]
    return [
        [sys.executable, *dagster],
        [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", *store],
    ]


class _Process(subprocess.Popen[bytes]):
    """A process that ends, in order if it can, when its block does."""

    def __init__(self, command: Sequence[str]) -> None:
        super().__init__(command)

    def __exit__(self, *_: object) -> None:
        self.terminate()
        try:
            self.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
            self.wait()


def _wait(running: Sequence[_Process]) -> None:
    try:
        while all(process.poll() is None for process in running):
            time.sleep(0.5)
    except KeyboardInterrupt:
        return
    raise SystemExit(next(process.returncode for process in running if process.poll() is not None))
