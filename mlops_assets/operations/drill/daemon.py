"""The real dagster-daemon, in a process of its own, which the drill may kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from mlops_assets.operations.drill import location
from resources.deployments import tied

STOP_TIMEOUT = 15


class Daemon:
    """Runs while it is started; it, its code server and its runs end with this process."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["dagster._daemon", "run", "-m", location.__name__]
        with self._log.open("ab") as log:
            # `tied` ends it should the drill itself be killed.
            self._process = subprocess.Popen(
                [sys.executable, "-P", tied.__file__, *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """As a machine that loses power: the daemon, and the code server that evaluates sensors."""
        assert self._process is not None
        process = psutil.Process(self._process.pid)
        for victim in [process, *process.children()]:
            with suppress(psutil.NoSuchProcess):
                victim.kill()
        self._process.wait()

    def stop(self) -> None:
        """End all that was started, runs under way included."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    @property
    def tail(self) -> str:
        """What it said last."""
        return self._log.read_text(errors="replace")[-2_000:] if self._log.exists() else ""
