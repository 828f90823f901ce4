"""Batch scores of a day by the champion of that time."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from mlops_assets import ledger
from mlops_assets.ledger import Entry
from mlops_assets.ml import models
from mlops_assets.stages import Stage, Verdict
from mlops_assets.stages.candidate import load_model
from resources.compute.task import TaskResult
from resources.delta import PARTITION, MissingDataError, combined, partition_hashes


def run(stage: Stage) -> TaskResult:
    features = stage.read("features", stage.partitions)
    in_charge = _in_charge(stage)
    rows = pd.concat(list(_scored(stage, features, in_charge)), ignore_index=True)
    version = stage.write("predictions", rows, stage.partitions)
    hashes = partition_hashes(rows, stage.use_case.key)
    return TaskResult(
        data_version=combined(hashes),
        metadata={"table_version": version},
        partitions={
            str(key): {
                "data_version": hashes[str(key)],
                "rows": len(day),
                "mean_score": float(day["score"].mean()),
                "model_version": in_charge[str(key)].model_version,
            }
            for key, day in rows.groupby(PARTITION)
        },
    )


def check(stage: Stage) -> list[Verdict]:
    """Whether each row of the features has exactly one score."""
    key = list(stage.use_case.key)
    rows, scores = (
        pd.MultiIndex.from_frame(stage.read(name, stage.partitions, key)[key])
        for name in ("features", "predictions")
    )
    missing = len(rows.difference(scores))
    surplus = len(scores) - len(scores.unique().intersection(rows))
    text = f"{missing} rows lack a score, {surplus} scores have no row or stand twice"
    return [Verdict("row_count", missing == surplus == 0, text)]


def _in_charge(stage: Stage) -> dict[str, Entry]:
    """The champion of each partition's beginning."""
    changes = ledger.entries(stage.tables, stage.use_case)
    found = {
        key: ledger.champion_at(changes, stage.calendar.interval(key)[0])
        for key in stage.partitions
    }
    without = [key for key, entry in found.items() if entry is None]
    if without:
        raise MissingDataError(
            f"{stage.use_case.name} had no champion on {without[0]}; materialise"
            f" {stage.use_case.name} / champion of a week before that day first"
        )
    return {key: entry for key, entry in found.items() if entry is not None}


def _scored(
    stage: Stage, features: pd.DataFrame, in_charge: dict[str, Entry]
) -> Iterator[pd.DataFrame]:
    """The scores of each champion's rows."""
    use_case = stage.use_case
    names = [PARTITION, *use_case.key, use_case.event_time, use_case.prediction_time]
    champions = features[PARTITION].map(lambda key: in_charge[key].model_sha256)
    for digest, rows in features.groupby(champions):
        entry = next(entry for entry in in_charge.values() if entry.model_sha256 == digest)
        model = load_model(stage, entry.as_of, entry.model_sha256)
        yield rows[list(dict.fromkeys(names))].assign(
            score=models.score(model, rows[use_case.feature_names]),
            model_version=entry.model_version,
            model_sha256=entry.model_sha256,
        )
