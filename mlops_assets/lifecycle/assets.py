"""What all assets of a life cycle share: key, group, tags, code version, and how a stage is run."""

import hashlib
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import dagster as dg

from mlops_assets.lifecycle.metadata import materialized
from mlops_assets.use_cases import UseCase
from resources.clock import Clock
from resources.compute.base import Compute
from resources.compute.task import ComputeProfile, Task
from resources.files import Files
from resources.tables import Tables

Phase = Literal["data", "training", "serving", "monitoring"]
STAGES = Path(__file__).parent.parent / "stages"


def key(use_case: UseCase, asset: str) -> dg.AssetKey:
    return dg.AssetKey([use_case.name, asset])


def settings(
    use_case: UseCase, asset: str, *, phase: Phase, kinds: set[str], description: str
) -> dict[str, Any]:
    """Arguments of `@dg.asset` that every asset of a life cycle has."""
    return {
        "key": key(use_case, asset),
        "group_name": use_case.name,
        "owners": list(use_case.owners),
        "kinds": kinds,
        "tags": {"stage": phase},
        "description": f"{description}\n\n{use_case.description}",
        "code_version": code_version(use_case, asset),
    }


def code_version(use_case: UseCase, asset: str) -> str:
    """Changes with the use case's module, and with the code of the asset's stage."""
    sources = [Path(inspect.getfile(use_case.compute_features)), STAGES / f"{asset}.py"]
    digest = hashlib.sha256()
    for source in sources:
        if source.exists():
            digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def task(
    use_case: UseCase,
    stage: str,
    partitions: Sequence[str],
    tables: Tables,
    files: Files,
    clock: Clock,
    **params: Any,
) -> Task:
    """A stage of a use case, as a task for any compute."""
    return Task(
        use_case=use_case.name,
        stage=stage,
        partitions=tuple(partitions),
        tables=tables.uri,
        artifacts=files.uri,
        now=clock.now().isoformat(),
        params=params,
        profile=profile(use_case, stage),
    )


def profile(use_case: UseCase, stage: str) -> ComputeProfile:
    """What a stage needs from its machine; raises ValueError naming a field that does not exist."""
    wanted = use_case.compute.get(stage, {})
    known = {field.name for field in fields(ComputeProfile)}
    unknown = sorted(set(wanted) - known)
    if unknown:
        raise ValueError(
            f"use case {use_case.name!r}: compute: {stage} asks for {unknown}; a ComputeProfile"
            f" has {', '.join(sorted(known))}"
        )
    return ComputeProfile(**wanted)


def stage_asset(
    use_case: UseCase,
    asset: str,
    *,
    phase: Phase,
    kinds: set[str],
    description: str,
    **more: Any,
) -> dg.AssetsDefinition:
    """An asset that is what its stage writes, and nothing besides."""

    @dg.asset(
        **settings(use_case, asset, phase=phase, kinds=kinds, description=description), **more
    )
    def _asset(
        context: dg.AssetExecutionContext,
        compute: Compute,
        tables: Tables,
        files: Files,
        clock: Clock,
    ) -> Iterator[Any]:
        result = compute.run(
            context, task(use_case, asset, context.partition_keys, tables, files, clock)
        )
        yield from materialized(context, result)

    return _asset
