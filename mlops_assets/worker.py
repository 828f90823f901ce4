"""Runs one stage anywhere: in a Dagster process, a pod or a Ray job."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

from mlops_assets.stages import Stage
from resources.compute.task import Task, TaskResult

logger = logging.getLogger(__name__)


def run(task: Task) -> TaskResult:
    """Run the task's stage, on as many threads as its profile has cores; return what it did."""
    stage = importlib.import_module(f"mlops_assets.stages.{task.stage}")
    logger.info("%s", task)
    with _threads(max(1, int(task.profile.cpu))):
        result: TaskResult = stage.run(Stage(task))
    return result


@contextmanager
def _threads(limit: int) -> Iterator[None]:
    """Limit numeric libraries: those that are loaded and, by OMP_NUM_THREADS, those to come."""
    # More threads than cores that are free is many times slower than one thread.
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(limit)
    try:
        with threadpool_limits(limit):
            yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
