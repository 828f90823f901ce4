"""Calls a task's worker, in this process or as `python -m resources.compute.entrypoint`.

The process finds its task in the Dagster Pipes context and reports either `{"result": …}` or
`{"error": …}` as a custom message, wherever it runs.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from resources.compute.task import Task, TaskResult

Report = Mapping[str, Any]

TIED = "--tied"
"""Argument: end, with all that was started, when the other end of stdin closes."""


def call(task: Task, logs: logging.Handler) -> TaskResult:
    """Run the task here; `logs` receives what the worker's package logs, from INFO on.

    The result makes a round trip through JSON, so that what works here works anywhere.
    """
    with _logging_to(logs, task.module.partition(".")[0]):
        result: TaskResult = importlib.import_module(task.module).run(task)
    return TaskResult(**json.loads(json.dumps(result.to_json())))


def main(arguments: list[str]) -> int:
    from dagster_pipes import open_dagster_pipes

    if TIED in arguments:
        threading.Thread(target=_die_with_parent, daemon=True).start()
    with open_dagster_pipes() as pipes:
        (handler,) = pipes.log.handlers
        report = _report(Task.from_json(pipes.extras["task"]), handler)
        pipes.report_custom_message(report)
    return int("error" in report)


def _report(task: Task, logs: logging.Handler) -> Report:
    try:
        return {"result": call(task, logs).to_json()}
    except Exception as error:  # is raised again where the task was asked for
        message = f"{type(error).__name__}: {error}"
        return {"error": {"message": message, "traceback": traceback.format_exc()}}


@contextmanager
def _logging_to(handler: logging.Handler, package: str) -> Iterator[None]:
    logger = logging.getLogger(package)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


def _die_with_parent() -> None:
    # Not sys.stdin: a thread that waits in its buffer breaks the interpreter's shutdown.
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
