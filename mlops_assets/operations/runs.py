"""Runs of the real assets, in this process, with progress people can follow."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)
from rich.console import Console
from rich.status import Status

from resources.home import home

console = Console(soft_wrap=True)
INSTANCE_CONFIG = Path(__file__).parents[2] / "dagster.yaml"


@dataclass(frozen=True)
class Outcome:
    """How a run went."""

    success: bool
    seconds: float
    evaluations: Sequence[dg.AssetCheckEvaluation]
    failures: Sequence[str]
    """Messages of the steps that failed."""
    run_id: str

    @property
    def refused(self) -> bool:
        """Whether nothing but blocking checks stopped the run."""
        return not self.success and all(
            failure.split(":")[0].endswith("_checks") for failure in self.failures
        )

    @property
    def failed_checks(self) -> list[dg.AssetCheckEvaluation]:
        return [found for found in self.evaluations if not found.passed]


def instance() -> dg.DagsterInstance:
    """The Dagster instance in DAGSTER_HOME, by default under MLOPS_HOME, set up where it isn't."""
    folder = Path(os.environ.setdefault("DAGSTER_HOME", str(home("dagster"))))
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "dagster.yaml"
    if not config.exists():
        shutil.copyfile(INSTANCE_CONFIG, config)
    return dg.DagsterInstance.get()


def run(
    defs: dg.Definitions,
    job: str,
    partitions: Sequence[str],
    *,
    instance: dg.DagsterInstance,
    title: str,
    resources: Mapping[str, Any] | None = None,
    ops: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> Outcome:
    """Run a job over a partition, a range of partitions at once, or none; say how it went.

    `resources` and `ops` hold configuration by name, e.g. {"clock": {"fixed": ...}}. A `quiet` run
    says nothing once it is over.
    """
    started = time.monotonic()
    with _progress(title):
        result = defs.resolve_job_def(job).execute_in_process(
            instance=instance,
            run_config=_config(resources or {}, ops or {}),
            tags=_tags(partitions),
            raise_on_error=False,
        )
    outcome = Outcome(
        success=result.success,
        seconds=time.monotonic() - started,
        evaluations=_verdicts(result, partitions),
        failures=list(_failures(result)),
        run_id=result.run_id,
    )
    if not quiet:
        _say(title, outcome)
    return outcome


def _verdicts(
    result: dg.ExecuteInProcessResult, partitions: Sequence[str]
) -> list[dg.AssetCheckEvaluation]:
    """Of a range of partitions those on the whole range."""
    whole = None if len(partitions) > 1 else next(iter(partitions), None)
    found = result.get_asset_check_evaluations()
    return [one for one in found if one.partition in (None, whole)]


def _tags(partitions: Sequence[str]) -> dict[str, str]:
    if not partitions:
        return {}
    if len(partitions) == 1:
        return {PARTITION_NAME_TAG: partitions[0]}
    return {
        ASSET_PARTITION_RANGE_START_TAG: partitions[0],
        ASSET_PARTITION_RANGE_END_TAG: partitions[-1],
    }


def _config(resources: Mapping[str, Any], ops: Mapping[str, Any]) -> dict[str, Any]:
    """Dagster's own log goes to the run's page; the console is for people."""
    return {
        "resources": {name: {"config": dict(values)} for name, values in resources.items()},
        "ops": {name: {"config": dict(values)} for name, values in ops.items()},
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }


def _failures(result: dg.ExecuteInProcessResult) -> Iterator[str]:
    for event in result.all_events:
        if event.is_step_failure and event.step_failure_data.error:
            error = event.step_failure_data.error
            while error.cause is not None:
                error = error.cause
            yield f"{event.step_key}: {error.message.strip()}"


@contextmanager
def _progress(title: str) -> Iterator[None]:
    """Show what is being done: a line that changes, or lines where nobody watches."""
    logger = logging.getLogger("mlops_assets")
    level = logger.level
    with console.status(title) as status:
        handler = _Shown(title, status)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)


class _Shown(logging.Handler):
    def __init__(self, title: str, status: Status) -> None:
        super().__init__(logging.INFO)
        self._title, self._status = title, status

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if console.is_terminal:
            self._status.update(f"{self._title} [dim]{text}[/dim]")
        else:
            console.print(f"    {text}", highlight=False, markup=False)


def _say(title: str, outcome: Outcome) -> None:
    mark = "[green]✓[/green]" if outcome.success else "[red]✗[/red]"
    passed = len(outcome.evaluations) - len(outcome.failed_checks)
    console.print(
        f"{mark} {title} [dim]({outcome.seconds:.1f} s, {passed} of {len(outcome.evaluations)}"
        " checks passed)[/dim]",
        highlight=False,
    )
    for found in outcome.failed_checks:
        console.print(f"    [yellow]{label(found)}[/yellow]: {found.description}", highlight=False)
    if not outcome.success:
        for failure in outcome.failures:
            console.print(f"    {failure}", style="red", markup=False, highlight=False)


def label(found: dg.AssetCheckEvaluation) -> str:
    """A check's name as people write it: asset, check, partition."""
    asset = found.asset_key.to_user_string()
    partition = f" of {found.partition}" if found.partition else ""
    return f"{asset}: {found.check_name}{partition}"
