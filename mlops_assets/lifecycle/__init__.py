"""How a model lives: one asset a module, in the order in which data flow.

dataset ─┬─ features ─┬─ training_set ── candidate ── evaluation ── champion ─┬─ service
         └─ labels ───┘                                                       │     │
             features ────────────────────────────────────── predictions ◄────┘     │
             labels ────────────────────────────────── prediction_log ◄── deployment ┘
             predictions, labels ── drift, performance ── retraining

Automation conditions carry new data down to drift and performance; the sensor of `retraining`
carries what these find back up to training_set.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from mlops_assets import use_cases
from mlops_assets.lifecycle import (
    automation,
    candidate,
    champion,
    dataset,
    deployment,
    drift,
    evaluation,
    features,
    labels,
    performance,
    prediction_log,
    predictions,
    retraining,
    service,
    training_set,
)
from mlops_assets.use_cases import UseCase

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition,
    )

STEPS = (
    dataset,
    features,
    labels,
    training_set,
    candidate,
    evaluation,
    champion,
    service,
    deployment,
    predictions,
    prediction_log,
    drift,
    performance,
    retraining,
)


def lifecycle(use_case: UseCase) -> dg.Definitions:
    """The whole life cycle of a use case's model, with jobs to run its parts by hand."""
    use_cases.register(use_case)
    built = list(_built(use_case))
    checks = [asset for asset in built if isinstance(asset, dg.AssetChecksDefinition)]
    assets = [asset for asset in built if not isinstance(asset, dg.AssetChecksDefinition)]
    jobs = _jobs(use_case)
    return dg.Definitions(
        assets=assets,
        asset_checks=checks,
        jobs=list(jobs.values()),
        sensors=[retraining.sensor(use_case, jobs["train"]), automation.sensor(use_case)],
    )


def _built(use_case: UseCase) -> Iterator[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    for step in STEPS:
        yield from step.build(use_case)


def _jobs(use_case: UseCase) -> "dict[str, UnresolvedAssetJobDefinition]":
    """What is run together: each job's assets share their partitions."""
    parts = {
        "ingest": ("Fetch data, compute features and labels.", ("dataset", "features", "labels")),
        "train": (
            "Train, evaluate, promote and package a model.",
            ("training_set", "candidate", "evaluation", "champion", "service"),
        ),
        "deploy": ("Put the champion's service in charge, at the live address.", ("deployment",)),
        "log": ("Take in what the service answered.", ("prediction_log",)),
        "predict": ("Score rows by the champion of their day.", ("predictions",)),
        "monitor": ("Compare a week with what was promised.", ("drift", "performance")),
    }
    return {
        name: dg.define_asset_job(
            f"{use_case.name}_{name}",
            selection=dg.AssetSelection.assets(*([use_case.name, asset] for asset in assets)),
            description=description,
        )
        for name, (description, assets) in parts.items()
    }
