"""candidate: the tuned, trained, tracked model of a week."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from mlops_assets.lifecycle.assets import key, settings, task
from mlops_assets.lifecycle.checks import Check, stage_checks
from mlops_assets.lifecycle.metadata import materialized
from mlops_assets.lifecycle.partitions import as_of_weeks
from mlops_assets.lifecycle.tracked import keep, link
from mlops_assets.use_cases import UseCase
from resources.clock import Clock
from resources.compute.base import Compute
from resources.compute.task import TaskResult
from resources.files import Files
from resources.registry import Registry
from resources.tables import Tables
from resources.tracking import TrackedRun, Tracking, tags_of


def build(use_case: UseCase) -> Iterator[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    partitions = as_of_weeks(use_case)
    yield _candidate(use_case, partitions)
    yield stage_checks(
        use_case,
        "candidate",
        partitions,
        Check("sanity", "The model beats a dummy that always says the mean.", blocking=True),
    )


def _candidate(use_case: UseCase, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        **settings(
            use_case,
            "candidate",
            phase="training",
            kinds={"scikitlearn", "optuna", "mlflow"},
            description="The best model that could be trained as of a Monday: hyper-parameters are"
            " tuned on weeks that follow those trained on, and the last week is kept for the gate.",
        ),
        partitions_def=partitions,
        deps=[key(use_case, "training_set")],
        pool="training",
    )
    def _asset(
        context: dg.AssetExecutionContext,
        compute: Compute,
        tables: Tables,
        files: Files,
        clock: Clock,
        tracking: Tracking,
        registry: Registry,
    ) -> Iterator[Any]:
        week = context.partition_key
        with tracking.run(use_case.name, f"candidate {week}", tags_of(context)) as run:
            result = compute.run(context, task(use_case, "candidate", [week], tables, files, clock))
            _track(use_case, run, result, tables)
            keep(run, result, files)
            version = _register(use_case, run, result, files, registry)
        yield from materialized(context, result, model_version=version, **link(run))

    return _asset


def _track(use_case: UseCase, run: TrackedRun, result: TaskResult, tables: Tables) -> None:
    card, trials = result.outputs["card"], result.outputs["trials"]
    run.params({"family": card["family"], "seed": card["seed"], **card["params"]})
    run.metrics(card["held_out"]["model"])
    run.metrics({f"dummy_{name}": value for name, value in card["held_out"]["dummy"].items()})
    run.tags({f"version.{name}": version for name, version in card["versions"].items()})
    run.tags({"model_sha256": card["sha256"], "training_set": card["training_set"]})
    for name, version in result.outputs["table_versions"].items():
        _input(use_case, run, name, version, card, tables)
    for n, trial in enumerate(trials):
        run.child(
            f"{trial['family']} {n}",
            {"family": trial["family"], **trial["params"]},
            {use_case.objective: trial["value"]},
        )


def _input(
    use_case: UseCase,
    run: TrackedRun,
    table: str,
    version: int,
    card: Mapping[str, Any],
    tables: Tables,
) -> None:
    columns = use_case.features if table == "features" else (use_case.label_column,)
    run.dataset(
        table,
        uri=tables.store().uri(f"{use_case.name}/{table}"),
        version=version,
        digest=card["training_set"],
        schema={column.name: column.dtype for column in columns},
    )


def _register(
    use_case: UseCase, run: TrackedRun, result: TaskResult, files: Files, registry: Registry
) -> str:
    card = result.outputs["card"]
    version = registry.register(
        use_case.name,
        run_id=run.id,
        source=files.store().uri(result.outputs["model_path"]),
        sha256=card["sha256"],
        as_of=card["as_of"],
        description=f"{card['family']}, trained as of {card['as_of']}",
    )
    registry.set_alias(use_case.name, "challenger", version)
    return version
