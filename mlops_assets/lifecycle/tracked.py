"""Assets that are a report on a model: a stage whose result and files MLflow keeps, too."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from pydantic import Field

from mlops_assets.lifecycle.assets import Phase, settings, task
from mlops_assets.lifecycle.metadata import materialized
from mlops_assets.use_cases import UseCase
from resources.clock import Clock
from resources.compute.base import Compute
from resources.compute.task import TaskResult
from resources.files import Files
from resources.tables import Tables
from resources.tracking import TrackedRun, Tracking, tags_of


class ReportOptions(dg.Config):
    """What a report is to hold."""

    evidently: bool = Field(
        default=True,
        description="Render Evidently's report besides ours; it is for reading only and slow.",
    )


def report_asset(
    use_case: UseCase,
    asset: str,
    *,
    phase: Phase,
    kinds: set[str],
    description: str,
    **more: Any,
) -> dg.AssetsDefinition:
    """An asset whose numbers, and `files` (an output of its stage), are tracked."""

    @dg.asset(
        **settings(use_case, asset, phase=phase, kinds=kinds, description=description), **more
    )
    def _asset(
        context: dg.AssetExecutionContext,
        config: ReportOptions,
        compute: Compute,
        tables: Tables,
        files: Files,
        clock: Clock,
        tracking: Tracking,
    ) -> Iterator[Any]:
        week = context.partition_key
        with tracking.run(use_case.name, f"{asset} {week}", tags_of(context)) as run:
            work = task(use_case, asset, [week], tables, files, clock, evidently=config.evidently)
            result = compute.run(context, work)
            run.metrics(_numbers(result.metadata))
            keep(run, result, files)
        yield from materialized(context, result, **link(run))

    return _asset


def keep(run: TrackedRun, result: TaskResult, files: Files) -> None:
    """Keep a result's files with the run."""
    for path in result.outputs["files"]:
        run.file(path.rsplit("/", 1)[-1], files.store().read(path))


def link(run: TrackedRun) -> Mapping[str, Any]:
    """The tracked run, as metadata."""
    return {"mlflow": {"type": "url", "raw_value": run.url}}


def _numbers(metadata: Mapping[str, Any]) -> dict[str, float]:
    return {n: v for n, v in metadata.items() if isinstance(v, int | float) and v == v}
