"""A worker that behaves as its task's stage says."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

from resources.compute.task import Task, TaskResult

logger = logging.getLogger(__name__)


def run(task: Task) -> TaskResult:
    with Path(task.artifacts, "attempts").open("a") as attempts:
        attempts.write(f"{os.getpid()}\n")
    return globals()[task.stage](task)


def succeed(task: Task) -> TaskResult:
    logger.info("working on %s", task.partitions[0])
    logger.warning("half of %s is missing", task.partitions[0])
    print("a worker may print")
    return TaskResult(
        data_version="v1",
        metadata={"rows": 3, "note": {"type": "md", "raw_value": "**grün** ✓"}},
        partitions={task.partitions[0]: {"data_version": "p1", "rows": 3}},
        outputs={"params": dict(task.params), "cpu": task.profile.cpu, "pid": os.getpid()},
    )


def large(task: Task) -> TaskResult:
    logger.info("ü" * 100_000)
    return TaskResult(data_version="v1", metadata={"image": "é☃" * task.params["characters"]})


def fail(task: Task) -> TaskResult:
    raise ValueError(f"column 'größe' of {task.partitions[0]} is empty")


def not_json(task: Task) -> TaskResult:
    return TaskResult(data_version="v1", metadata={"rows": Decimal(3)})


def leave(task: Task) -> TaskResult:
    sys.exit(3)


def die(task: Task) -> TaskResult:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def die_once(task: Task) -> TaskResult:
    first = len(Path(task.artifacts, "attempts").read_text().splitlines()) == 1
    return die(task) if first else succeed(task)


def hang(task: Task) -> TaskResult:
    """Never end, nor let go of a process of its own."""
    inner = subprocess.Popen(["sleep", "600"])
    Path(task.artifacts, "inner").write_text(str(inner.pid))
    time.sleep(600)
    raise AssertionError("unreachable")
