"""Compute: something that runs a task and brings back its result."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, final

from dagster import ConfigurableResource

from resources.compute.task import Task, TaskResult

if TYPE_CHECKING:
    from dagster import AssetExecutionContext


class TaskFailedError(RuntimeError):
    """The task raised; its own message and, as a note, its traceback are kept."""


class TaskTimeoutError(RuntimeError):
    """The task ran longer than its profile allows, and was ended."""


class WorkerLostError(RuntimeError):
    """The process or machine that ran the task died before it had a result."""


class Compute(ConfigurableResource[Any], ABC):
    """Runs tasks. A task that lost its worker is tried again; one that failed by itself is not."""

    @final
    def run(self, context: AssetExecutionContext, task: Task) -> TaskResult:
        """Run the task to its end; add `compute_seconds`, all attempts included, to its metadata.

        Raises TaskFailedError, TaskTimeoutError or, after `profile.retries` more attempts,
        WorkerLostError.
        """
        started = time.monotonic()
        result = self._attempt(context, task, task.profile.retries)
        seconds = round(time.monotonic() - started, 3)
        return replace(result, metadata={**result.metadata, "compute_seconds": seconds})

    @abstractmethod
    def execute(self, context: AssetExecutionContext, task: Task) -> TaskResult:
        """Run the task once; its worker's logs appear in `context.log`."""

    def _attempt(self, context: AssetExecutionContext, task: Task, retries: int) -> TaskResult:
        try:
            return self.execute(context, task)
        except WorkerLostError as error:
            if retries == 0:
                raise
            context.log.warning(f"{error}; trying again, {retries} attempts left")
        return self._attempt(context, task, retries - 1)
