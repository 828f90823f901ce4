"""Stages are tested on tables in a temporary directory, without Dagster."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mlops_assets import worker
from mlops_assets.stages import Stage, Verdict
from mlops_assets.use_cases import UseCase
from mlops_assets_tests.toy import TOY
from resources.compute.task import Task, TaskResult

LATER = datetime(2024, 6, 1, tzinfo=UTC)


class Workplace:
    """Runs stages and asks their checks over one set of tables and files."""

    def __init__(self, root: Path, use_case: UseCase = TOY, now: datetime = LATER) -> None:
        self.root, self.use_case, self.now = root, use_case, now

    def stage(self, name: str, partitions: Sequence[str], **params: Any) -> Stage:
        return Stage(
            Task(
                use_case=self.use_case.name,
                stage=name,
                partitions=tuple(partitions),
                tables=str(self.root / "tables"),
                artifacts=str(self.root / "artifacts"),
                now=self.now.isoformat(),
                params=params,
            )
        )

    def run(self, name: str, partitions: Sequence[str], **params: Any) -> TaskResult:
        return worker.run(self.stage(name, partitions, **params).task)

    def check(self, name: str, partitions: Sequence[str]) -> dict[str, Verdict]:
        module = importlib.import_module(f"mlops_assets.stages.{name}")
        return {found.check: found for found in module.check(self.stage(name, partitions))}

    def days(self, first: str, count: int) -> list[str]:
        start = self.use_case.calendar.interval(first)[0]
        return self.use_case.calendar.keys(start, start + count * self.use_case.calendar.step)


@pytest.fixture
def workplace(tmp_path: Path) -> Callable[..., Workplace]:
    """`workplace(use_case, now=...)`, any number of times over the same tables."""

    def make(use_case: UseCase = TOY, now: datetime = LATER) -> Workplace:
        return Workplace(tmp_path, use_case, now)

    return make
