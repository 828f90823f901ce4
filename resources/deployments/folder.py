"""The directory of one deployment: what is asked of its supervisor, and what that says of itself.

A request is a file that the supervisor finds; what has become of it stands in the state. So a
client may be killed at any moment: the supervisor carries on, and the next client sees how far it
came. The supervisor holds a lock for as long as it lives, which no crash can leave behind.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resources.artifacts import Artifacts
from resources.deployments.release import DeploymentError

REQUEST, STATE, LOCK, LOG = "request.json", "state.json", "supervisor.lock", "supervisor.log"
POLL_SECONDS = 0.1
MAX_STARTS = 3
LOG_TAIL = 3_000


@dataclass(frozen=True)
class Folder:
    """What lies in the directory."""

    path: Path

    @property
    def prediction_log(self) -> Path:
        return self.path / "prediction_log"

    @property
    def homes(self) -> Path:
        """Where each service process has a directory for itself."""
        return self.path / "services"

    def request(self) -> Mapping[str, Any]:
        """What was asked last: `id`, `verb` and its values; empty where nothing was."""
        return self._read(REQUEST)

    def state(self) -> Mapping[str, Any]:
        """What the supervisor wrote last: fields of `Status`, `answered`; empty before."""
        return self._read(STATE)

    def write_state(self, state: Mapping[str, Any]) -> None:
        Artifacts(str(self.path)).write_json(STATE, state)

    def supervised(self) -> bool:
        """Whether a supervisor is alive."""
        if not (self.path / LOCK).exists():
            return False
        with (self.path / LOCK).open() as file:
            return not _lock(file.fileno(), fcntl.LOCK_SH)

    def occupy(self) -> bool:
        """Take the supervisor's lock, for as long as this process or a fork of it lives.

        False where another one has it.
        """
        handle = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        for _ in range(10):  # a client that looks has it for a moment
            if _lock(handle, fcntl.LOCK_EX):
                return True
            time.sleep(POLL_SECONDS)
        os.close(handle)
        return False

    def supervisor(self) -> int:
        """The supervisor's process id, where there is one."""
        return int((self.path / LOCK).read_text())

    def sign(self) -> None:
        """Write this process' id into the lock, for people who wonder whose it is."""
        (self.path / LOCK).write_text(f"{os.getpid()}\n")

    def ask(self, verb: str, timeout: float, **values: Any) -> None:
        """Have the supervisor do something, started where there is none; wait until it is done.

        Raises DeploymentError with what it says, or after `timeout` seconds.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        request = {"id": uuid.uuid4().hex, "verb": verb, **values}
        with self._only_client():
            Artifacts(str(self.path)).write_json(REQUEST, request)
            answer = self._answer(request["id"], time.monotonic() + timeout)
        if answer["error"]:
            raise DeploymentError(answer["error"])

    def wait_until_left(self, timeout: float) -> None:
        """Wait for the supervisor's end. Raises DeploymentError where it stays."""
        deadline = time.monotonic() + timeout
        while self.supervised():
            if time.monotonic() > deadline:
                raise DeploymentError(f"its supervisor has not ended; {self._log_tail()}")
            time.sleep(POLL_SECONDS)

    def _answer(self, request: str, deadline: float) -> Mapping[str, Any]:
        starts = 0
        while True:
            answer: Mapping[str, Any] = self.state().get("answered", {})
            if answer.get("id") == request:
                return answer
            if time.monotonic() > deadline:
                raise DeploymentError(f"its supervisor did not answer in time; {self._log_tail()}")
            if not self.supervised():
                if starts == MAX_STARTS:
                    raise DeploymentError(f"its supervisor ends by itself; {self._log_tail()}")
                starts += 1
                self._start_supervisor()
            time.sleep(POLL_SECONDS)

    def _start_supervisor(self) -> None:
        """It takes its lock, lets go of its parent, and only then does the command return."""
        with (self.path / LOG).open("ab") as log:
            subprocess.run(
                [sys.executable, "-m", "resources.deployments.supervisor", str(self.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=True,
            )

    @contextmanager
    def _only_client(self) -> Iterator[None]:
        """Requests follow one another; the lock of a killed client is free."""
        with (self.path / "client.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _read(self, name: str) -> Mapping[str, Any]:
        if not (self.path / name).exists():
            return {}
        found: Mapping[str, Any] = Artifacts(str(self.path)).read_json(name)
        return found

    def _log_tail(self) -> str:
        log = self.path / LOG
        text = log.read_text(errors="replace")[-LOG_TAIL:] if log.exists() else ""
        return f"{log} ends:\n{text}"


def _lock(handle: int, operation: int) -> bool:
    try:
        fcntl.flock(handle, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
