"""Runs one stage anywhere: in a Dagster process, a pod or a Ray job."""

from __future__ import annotations

import importlib
import logging

from mlops_assets.stages import Stage
from resources.compute.task import Task, TaskResult

logger = logging.getLogger(__name__)


def run(task: Task) -> TaskResult:
    """Run the task's stage and return what it did."""
    stage = importlib.import_module(f"mlops_assets.stages.{task.stage}")
    logger.info("%s of %s: %s", task.stage, task.use_case, _shown(task.partitions))
    result: TaskResult = stage.run(Stage(task))
    return result


def _shown(partitions: tuple[str, ...]) -> str:
    if len(partitions) <= 2:
        return " and ".join(partitions) or "everything"
    return f"{len(partitions)} partitions, {partitions[0]} to {partitions[-1]}"
