"""What is special about tasks on this machine: they end with the process that asked for them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

DAGSTER = """
import sys
from pathlib import Path
from mlops_assets_tests.resources.test_compute_conformance import Bench
from resources.compute.local import LocalCompute

Bench(Path(sys.argv[1])).run(LocalCompute(subprocess=True), "hang")
"""


@pytest.mark.faults
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_ends_with_dagster(how: signal.Signals, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", DAGSTER, str(tmp_path)], stderr=subprocess.DEVNULL
    ) as dagster:
        inner = _content(tmp_path / "inner")
        dagster.send_signal(how)
    for pid in (_content(tmp_path / "attempts"), inner):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.05)


def _content(path: Path) -> int:
    while not (path.exists() and path.read_text()):
        time.sleep(0.05)
    return int(path.read_text())
