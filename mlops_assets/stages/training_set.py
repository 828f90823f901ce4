"""A pinned snapshot: the rows, and the table versions they come from, known at the as-of time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from mlops_assets.stages import Stage, Verdict
from mlops_assets.stages.labels import MATURED_AT
from resources.artifacts import TamperedError
from resources.compute.task import TaskResult
from resources.delta import PARTITION, MissingDataError, content_hash

MANIFEST = "manifest.json"
MIN_CLASS_SHARE = 0.01


@dataclass(frozen=True)
class TrainingSet:
    """Rows with features and label, known before `as_of`."""

    rows: pd.DataFrame
    as_of: datetime
    prediction_time: str
    hash: str

    def split(self, holdout: timedelta) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Rows to train on, and the rows predicted in the last `holdout`, kept from training."""
        held_out = self.rows[self.prediction_time] >= pd.Timestamp(self.as_of - holdout)
        return (
            self.rows[~held_out].reset_index(drop=True),
            self.rows[held_out].reset_index(drop=True),
        )


def run(stage: Stage) -> TaskResult:
    """Pin what is known at the as-of time; a manifest is all that is stored."""
    partitions = _partitions(stage)
    pins = {name: stage.tables.version(stage.table(name)) for name in ("features", "labels")}
    rows = _rows(stage, stage.partition, partitions, pins)
    manifest: dict[str, Any] = {
        "as_of": stage.partition,
        "partitions": partitions,
        "versions": pins,
        "hash": content_hash(rows, stage.use_case.key),
        "rows": len(rows),
        "label": _label_facts(stage, rows),
    }
    stage.artifacts.write_json(stage.path("training_set", stage.partition, MANIFEST), manifest)
    return TaskResult(
        data_version=manifest["hash"],
        metadata={
            "rows": len(rows),
            "first_day": partitions[0],
            "last_day": partitions[-1],
            **{f"{name}_version": version for name, version in pins.items()},
            **manifest["label"],
        },
        outputs={"manifest": manifest},
    )


def check(stage: Stage) -> list[Verdict]:
    """Whether there are enough rows, and of each class, to learn from."""
    found = manifest(stage, stage.partition)
    rows, least = found["rows"], stage.use_case.min_training_rows
    size = Verdict("size", rows >= least, f"{rows} rows with a label; at least {least} are needed")
    return [size, _balance(stage, found["label"])]


def manifest(stage: Stage, week: str) -> dict[str, Any]:
    """What was pinned for a week."""
    found: dict[str, Any] = stage.read_json("training_set", week, MANIFEST)
    return found


def load(stage: Stage, week: str) -> TrainingSet:
    """The pinned rows of a week.

    Raises TamperedError where the tables' pinned versions no longer hold what was pinned.
    """
    pinned = manifest(stage, week)
    rows = _rows(stage, week, pinned["partitions"], pinned["versions"])
    found = content_hash(rows, stage.use_case.key)
    if found != pinned["hash"]:
        raise TamperedError(
            f"{stage.use_case.name} / training_set of {week} was pinned as {pinned['hash']} but its"
            f" tables now give {found}; materialise it again"
        )
    as_of = stage.calendar.week(week)[0]
    return TrainingSet(rows, as_of, stage.use_case.prediction_time, found)


def _partitions(stage: Stage) -> list[str]:
    """Partitions of the window for which there are features and labels."""
    calendar, use_case = stage.calendar, stage.use_case
    end = calendar.week(stage.partition)[0]
    start = max(end - use_case.train_window, calendar.midnight(use_case.start))
    stored = [stage.tables.partitions(stage.table(name)) for name in ("features", "labels")]
    partitions = [key for key in calendar.keys(start, end) if all(key in keys for keys in stored)]
    if not partitions:
        raise MissingDataError(
            f"{use_case.name}: there are no features with labels from {start:%Y-%m-%d} to"
            f" {end:%Y-%m-%d}; materialise dataset, features and labels of these days first"
        )
    return partitions


def _rows(stage: Stage, week: str, partitions: list[str], pins: Mapping[str, int]) -> pd.DataFrame:
    use_case, key = stage.use_case, list(stage.use_case.key)
    as_of = pd.Timestamp(stage.calendar.week(week)[0])
    features, labels = (
        stage.tables.read(stage.table(name), partitions, version=pins[name])
        for name in ("features", "labels")
    )
    labels = labels.loc[
        (labels[MATURED_AT] < as_of) & labels[use_case.label].notna(),
        [*key, MATURED_AT, use_case.label],
    ]
    rows = features[features[use_case.prediction_time] < as_of].drop(columns=PARTITION)
    return rows.merge(labels, on=key, validate="one_to_one").sort_values(
        [use_case.prediction_time, *key], ignore_index=True
    )


def _label_facts(stage: Stage, rows: pd.DataFrame) -> dict[str, float]:
    """The mean of the label and, of a class label, the share of its rarest class."""
    labels = rows[stage.use_case.label]
    facts = {"mean_label": float(labels.mean())} if len(labels) else {}
    if stage.use_case.kind == "classification" and len(labels):
        shares = [float((labels == value).mean()) for value in (0, 1)]
        facts["rarest_class"] = min(shares)
    return facts


def _balance(stage: Stage, label: Mapping[str, float]) -> Verdict:
    if stage.use_case.kind == "regression":
        return Verdict("class_balance", True, "the label is a number, not a class")
    share = label.get("rarest_class", 0.0)
    text = f"the rarest class has {share:.2%} of the rows; at least {MIN_CLASS_SHARE:.0%} is needed"
    return Verdict("class_balance", share >= MIN_CLASS_SHARE, text)
