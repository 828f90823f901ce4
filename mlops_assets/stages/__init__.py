"""The stages of the life cycle, one module each: read tables, call the mathematics, write tables.

A stage is `run(stage: Stage) -> TaskResult`. It runs in any process, knows nothing of Dagster and
may be killed and run again at any line: each write is atomic and replaces what an earlier attempt
left. Asset checks live beside their stage, as `check(stage: Stage) -> list[Verdict]`: they read
what is stored, so they can be asked again at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mlops_assets import use_cases
from mlops_assets.ml.calendar import Calendar
from resources.artifacts import Artifacts
from resources.compute.task import Task
from resources.delta import DeltaStore, MissingDataError

if TYPE_CHECKING:
    import pandas as pd

    from mlops_assets.use_cases import UseCase


@dataclass(frozen=True)
class Verdict:
    """What a check found. `metadata` as in `TaskResult`."""

    check: str
    passed: bool
    description: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """A task with what it needs in reach: its use case, tables and files."""

    task: Task

    @cached_property
    def use_case(self) -> UseCase:
        return use_cases.get(self.task.use_case)

    @property
    def calendar(self) -> Calendar:
        return self.use_case.calendar

    @property
    def partitions(self) -> tuple[str, ...]:
        return self.task.partitions

    @property
    def partition(self) -> str:
        """The only partition of a task that has one."""
        (only,) = self.task.partitions
        return only

    @property
    def now(self) -> datetime:
        return datetime.fromisoformat(self.task.now)

    @cached_property
    def tables(self) -> DeltaStore:
        return DeltaStore(self.task.tables)

    @cached_property
    def artifacts(self) -> Artifacts:
        return Artifacts(self.task.artifacts)

    def table(self, asset: str) -> str:
        """The name of an asset's table."""
        return f"{self.use_case.name}/{asset}"

    def path(self, asset: str, partition: str, file: str) -> str:
        """The path of one of an asset's files."""
        return f"{self.use_case.name}/{asset}/{partition}/{file}"

    def read(
        self, asset: str, partitions: Sequence[str] | None, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Rows of an asset's partitions, sorted by the use case's key."""
        frame = self.tables.read(self.table(asset), partitions, columns)
        return frame.sort_values(list(self.use_case.key), ignore_index=True)

    def read_json(self, asset: str, week: str, file: str) -> Any:
        """What one of an asset's JSON files holds; raises MissingDataError where it is absent."""
        path = self.path(asset, week, file)
        if not self.artifacts.exists(path):
            raise MissingDataError(
                f"{self.use_case.name} / {asset} has no week {week}; materialise it first"
            )
        return self.artifacts.read_json(path)

    def write(self, asset: str, frame: pd.DataFrame, partitions: Sequence[str]) -> int:
        """Replace partitions of an asset's table; return the table's version."""
        return self.tables.overwrite(self.table(asset), frame, partitions)


def md(text: str) -> dict[str, Any]:
    """Markdown, as metadata."""
    return {"type": "md", "raw_value": text}


def md_table(frame: pd.DataFrame, digits: int = 4) -> dict[str, Any]:
    """A frame as a Markdown table, as metadata."""
    return md(frame.to_markdown(index=False, floatfmt=f".{digits}g"))


def md_image(png: bytes, title: str) -> dict[str, Any]:
    """A picture inside the Dagster UI, as metadata."""
    import base64

    return md(f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})")
