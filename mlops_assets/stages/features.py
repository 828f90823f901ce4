"""Model inputs of each row, from what was known when its prediction is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mlops_assets.ml.contract import as_of, validate, violations
from mlops_assets.stages import Stage, Verdict, md_table
from resources.compute.task import TaskResult
from resources.delta import PARTITION, MissingDataError, combined, partition_hashes

if TYPE_CHECKING:
    from mlops_assets.use_cases import UseCase

MAX_NULL_RATE = 0.75
PROBES = 6
ROWS_A_PROBE = 20


def run(stage: Stage) -> TaskResult:
    use_case = stage.use_case
    history = _history(stage, stage.partitions)
    rows = history[history[PARTITION].isin(stage.partitions)]
    features = _identity(use_case, rows).join(_compute(use_case, rows, history))
    version = stage.write("features", features, stage.partitions)
    hashes = partition_hashes(features, use_case.key)
    counts = features[PARTITION].value_counts()
    return TaskResult(
        data_version=combined(hashes),
        metadata={"table_version": version, "features": md_table(_summary(use_case, features))},
        partitions={
            key: {"data_version": hashes[key], "rows": int(counts[key])} for key in stage.partitions
        },
    )


def check(stage: Stage) -> list[Verdict]:
    """Whether the stored features are well-formed, complete, and free of later knowledge."""
    features = stage.read("features", stage.partitions)
    return [_schema(stage, features), _null_rate(stage, features), _leakage(stage, features)]


def _history(stage: Stage, partitions: Sequence[str]) -> pd.DataFrame:
    """Dataset rows of the partitions and of the history before them."""
    calendar, use_case = stage.calendar, stage.use_case
    start = calendar.interval(partitions[0])[0] - use_case.history
    end = calendar.interval(partitions[-1])[1]
    wanted = calendar.keys(max(start, calendar.midnight(use_case.start)), end)
    return stage.read("dataset", available(stage, wanted, needed=partitions))


def available(stage: Stage, wanted: Sequence[str], needed: Sequence[str]) -> list[str]:
    """The wanted dataset partitions, less those that were fetched and refused.

    Raises MissingDataError for one that was never fetched, and for a needed one that is not there.
    """
    stored = stage.tables.partitions(stage.table("dataset"))
    fetched = stage.tables.partitions(stage.table("intake"))
    missing = [key for key in wanted if key not in stored and (key in needed or key not in fetched)]
    if missing:
        raise MissingDataError(
            f"{stage.use_case.name} / dataset lacks {', '.join(missing[:5])}"
            f"{' and more' if len(missing) > 5 else ''}; materialise it first"
        )
    return [key for key in wanted if key in stored]


def _identity(use_case: UseCase, rows: pd.DataFrame) -> pd.DataFrame:
    names = [PARTITION, *use_case.key, use_case.event_time, use_case.prediction_time]
    return rows[list(dict.fromkeys(names))]


def _compute(use_case: UseCase, rows: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    features = use_case.compute_features(rows, history)
    names = use_case.feature_names
    if sorted(features.columns) != sorted(names):
        wrong = sorted(set(features.columns) ^ set(names))
        raise ValueError(f"compute_features: {wrong} are computed but not declared, or vice versa")
    if not features.index.equals(rows.index):
        raise ValueError("compute_features must return one row for each of `rows`, in its order")
    numbers = {c.name: "float64" for c in use_case.features if c.dtype in ("int", "float", "bool")}
    return features[names].astype(numbers)


def _summary(use_case: UseCase, features: pd.DataFrame) -> pd.DataFrame:
    """One line a feature, for people."""
    return pd.DataFrame(
        [
            {
                "feature": column.name,
                "unit": column.unit or "",
                "missing": features[column.name].isna().mean(),
                "typical": _typical(features[column.name]),
                "meaning": column.description,
            }
            for column in use_case.features
        ]
    )


def _typical(values: pd.Series) -> str:
    if values.isna().all():
        return "–"
    if values.dtype == object:
        return ", ".join(map(str, values.value_counts().index[:3]))
    return " – ".join(f"{q:.3g}" for q in values.quantile([0.05, 0.95]))


def _schema(stage: Stage, features: pd.DataFrame) -> Verdict:
    bad = validate(features, stage.use_case.features).bad
    if bad.empty:
        return Verdict("schema", True, f"{len(features)} rows keep the declared types and ranges")
    found = "; ".join(map(str, violations(bad)))
    return Verdict("schema", False, f"{len(bad)} of {len(features)} rows do not: {found}")


def _null_rate(stage: Stage, features: pd.DataFrame) -> Verdict:
    rates = features[stage.use_case.feature_names].isna().mean()
    high = rates[rates > MAX_NULL_RATE]
    if high.empty:
        text = f"at most {rates.max():.1%} of a feature is missing ({rates.idxmax()})"
        return Verdict("null_rate", True, text)
    named = ", ".join(f"{name} {rate:.0%}" for name, rate in high.items())
    return Verdict("null_rate", False, f"missing in more than {MAX_NULL_RATE:.0%} of rows: {named}")


def _leakage(stage: Stage, features: pd.DataFrame) -> Verdict:
    """Compute some rows again from the data as they stood at their prediction time."""
    probes = [leaks for rows in _probes(stage, features) if (leaks := _leaks(stage, rows))]
    if not probes:
        text = "features computed from what was known at the prediction time are the stored ones"
        return Verdict("no_leakage", True, text)
    named = ", ".join(sorted(set().union(*probes)))
    text = f"{named}: differ once what was not known at the prediction time is taken away"
    return Verdict("no_leakage", False, text)


def _probes(stage: Stage, features: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Rows of a few prediction times, spread over the partitions."""
    times = features[stage.use_case.prediction_time].drop_duplicates().sort_values()
    picked = times.iloc[np.linspace(0, len(times) - 1, min(PROBES, len(times))).astype(int)]
    for _, rows in features[features[stage.use_case.prediction_time].isin(picked)].groupby(
        stage.use_case.prediction_time
    ):
        yield rows.head(ROWS_A_PROBE)


def _leaks(stage: Stage, stored: pd.DataFrame) -> set[str]:
    """Names of features of these rows (one prediction time) that later knowledge has changed."""
    use_case, key = stage.use_case, list(stage.use_case.key)
    at = stored[use_case.prediction_time].iloc[0]
    history = _history(stage, sorted(stored[PARTITION].unique()))
    known = as_of(history, use_case.contract, at, use_case.recorded_at)
    stored = stored.set_index(key)
    rows = known[known.set_index(key).index.isin(stored.index)]
    fresh = _compute(use_case, rows, known).set_axis(rows.set_index(key).index)
    return {
        name
        for name in use_case.feature_names
        if not _equal(stored[name], fresh[name].reindex(stored.index))
    }


def _equal(one: pd.Series, other: pd.Series) -> bool:
    if one.dtype == object:
        return bool((one.eq(other) | (one.isna() & other.isna())).all())
    return np.allclose(one, other, rtol=1e-9, atol=1e-12, equal_nan=True)
