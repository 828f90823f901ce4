"""Runs tasks on this machine."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from dagster import PipesTempFileContextInjector, open_pipes_session
from pydantic import Field

from resources.compute import entrypoint
from resources.compute.base import Compute, TaskFailedError, TaskTimeoutError, WorkerLostError
from resources.compute.messages import WholeMessages
from resources.compute.task import Task, TaskResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dagster import AssetExecutionContext, DagsterLogManager


class LocalCompute(Compute):
    """Runs tasks in Dagster's own process or, isolated from it, in a process each."""

    subprocess: bool = Field(
        default=False,
        description="Give each task a process of its own, with its time limit kept and its death"
        " survived; costs the start of a Python process.",
    )

    def execute(self, context: AssetExecutionContext, task: Task) -> TaskResult:
        return (_in_child if self.subprocess else _here)(context, task)


def _here(context: AssetExecutionContext, task: Task) -> TaskResult:
    try:
        return entrypoint.call(task, _ToDagster(context.log))
    except Exception as error:
        raise TaskFailedError(f"{task}: {type(error).__name__}: {error}") from error


def _in_child(context: AssetExecutionContext, task: Task) -> TaskResult:
    with open_pipes_session(
        context=context,
        context_injector=PipesTempFileContextInjector(),
        message_reader=WholeMessages(),
        extras={"task": task.to_json()},
    ) as session:
        status = _exit_status(task, session.get_bootstrap_env_vars())
    return _result(task, session.get_custom_messages(), status)


def _exit_status(task: Task, env: Mapping[str, str]) -> int:
    """Run the worker's process to its end, and see to it that nothing it started survives it."""
    with subprocess.Popen(
        [sys.executable, "-m", entrypoint.__name__, entrypoint.TIED],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **env},
        stdin=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            return process.wait(task.profile.timeout)
        except subprocess.TimeoutExpired:
            limit = task.profile.timeout
            raise TaskTimeoutError(
                f"{task}: ended after {limit} s, the limit of its compute profile"
            ) from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _result(task: Task, reports: Sequence[entrypoint.Report], status: int) -> TaskResult:
    if not reports:
        raise WorkerLostError(f"{task}: its process {_death(status)} before it had a result")
    (report,) = reports
    if "error" in report:
        error = TaskFailedError(f"{task}: {report['error']['message']}")
        error.add_note(report["error"]["traceback"])
        raise error
    return TaskResult(**report["result"])


def _death(status: int) -> str:
    if status >= 0:
        return f"ended with exit status {status}"
    name = signal.Signals(-status).name
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


class _ToDagster(logging.Handler):
    """Passes log records on to the run's log."""

    def __init__(self, log: DagsterLogManager) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.log(record.levelno, record.getMessage())
