"""Whether a model does worse than promised, beyond what its days naturally differ by.

Two promises are held against a week. The *evaluation's*: the metrics on rows the model had not
seen. And the one in every *score*: a probability claims how often it will be wrong, so a set of
scores claims a log loss, a Brier score, a ranking. A hard week (a storm) is worse than the
evaluation promised but no worse than its scores claim; a model whose world has changed is.

The unit is the day: rows of a day share too much for resampled rows to tell how much metrics vary,
and weeks are too few. Days are compared by Student's t-test, one-sided, with the variance of the
promise's days; as neighbouring days resemble each other, DESIGN days count as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from mlops_assets.ml.metrics import METRICS, Metric

DESIGN = 2.0
MIN_DAYS = 3
"""Fewer days than this, promised or lived, say nothing."""
MIN_ROWS = 10
"""Days with fewer rows than this say nothing."""
CLAIM = "_vs_claim"
ALPHA = 0.01

Days = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Comparison:
    """A measure of the days of a week against those of the promise.

    `measure` is a metric, or a metric followed by `_vs_claim`: its gain over what the scores
    themselves claim. `shortfall` is how much worse the week is (negative: better), `limit` the
    shortfall that noise explains, `p_value` that of the shortfall, not adjusted.
    """

    measure: str
    promised: float
    current: float
    shortfall: float
    limit: float
    p_value: float
    failed: bool
    message: str


def daily(
    metrics: Sequence[str], truth: np.ndarray, score: np.ndarray, times: pd.Series
) -> dict[str, list[float]]:
    """Each measure's values over the days, by local `times`, for which it is defined."""
    days = pd.factorize(times.dt.tz_localize(None).dt.normalize(), sort=True)[0]
    found: dict[str, list[float]] = {name: [] for name in _measures(metrics)}
    for day in range(days.max() + 1 if len(days) else 0):
        rows = days == day
        if rows.sum() >= MIN_ROWS:
            for name, value in _measured(metrics, truth[rows], score[rows]):
                found[name].append(value)
    return found


def claimed(metric: Metric, score: np.ndarray) -> float:
    """What a classifier's metric is expected to be if its scores are the true probabilities.

    Each row counts as a positive with the weight of its score, and as a negative with the rest.
    """
    truth = np.repeat([1.0, 0.0], len(score))
    weights = np.concatenate([score, 1 - score])[None, :]
    return float(metric.weighted(truth, np.tile(score, 2), weights)[0])


def compare(
    metrics: Sequence[str], promised: Days, current: Days, alpha: float = ALPHA
) -> list[Comparison]:
    """Judge the days of a week; if nothing changed, any comparison fails in `alpha` of weeks.

    Raises ValueError where no measure has enough days.
    """
    judged = [
        name
        for name in _measures(metrics)
        if min(len(promised.get(name, ())), len(current.get(name, ()))) >= MIN_DAYS
    ]
    if not judged:
        raise ValueError(
            f"no metric is defined on {MIN_DAYS} days of {MIN_ROWS} rows, of the promise and of the"
            " week: there is nothing to compare"
        )
    return [
        _compare(name, np.array(promised[name]), np.array(current[name]), alpha / len(judged))
        for name in judged
    ]


def _measures(metrics: Sequence[str]) -> list[str]:
    claims = [f"{name}{CLAIM}" for name in metrics if METRICS[name].kind == "classification"]
    return [*metrics, *claims]


def _measured(
    metrics: Sequence[str], truth: np.ndarray, score: np.ndarray
) -> Iterator[tuple[str, float]]:
    weights = np.ones((1, len(truth)))
    for name in metrics:
        metric = METRICS[name]
        value = float(metric.weighted(truth, score, weights)[0])
        if np.isfinite(value):
            yield name, value
            if metric.kind == "classification":
                yield f"{name}{CLAIM}", metric.gain(value, claimed(metric, score))


def _compare(name: str, promised: np.ndarray, current: np.ndarray, alpha: float) -> Comparison:
    before, after = float(promised.mean()), float(current.mean())
    claim = name.endswith(CLAIM)
    shortfall = before - after if claim else METRICS[name].gain(before, after)
    noise = np.sqrt(promised.var(ddof=1) * DESIGN * (1 / len(promised) + 1 / len(current)))
    df = max((len(promised) - 1) / DESIGN, 1)
    limit = float(stats.t.isf(alpha, df) * noise)
    failed = bool(shortfall > limit)
    return Comparison(
        measure=name,
        promised=before,
        current=after,
        shortfall=float(shortfall),
        limit=limit,
        p_value=float(stats.t.sf(shortfall / noise, df)) if noise else float(shortfall <= 0),
        failed=failed,
        message=_message(name, after, float(shortfall), limit),
    )


def _message(name: str, current: float, shortfall: float, limit: float) -> str:
    metric = name.removesuffix(CLAIM)
    how = "worse" if shortfall > 0 else "better"
    than = (
        "than the scores claim, beyond the evaluation" if name.endswith(CLAIM) else "than promised"
    )
    what = f"{metric}: {abs(shortfall):.3g} {how} {than}"
    what += "" if name.endswith(CLAIM) else f", at {current:.4g} on the mean day"
    return f"{what}; noise explains up to {limit:.3g}"
