"""Metrics by name, each with its direction, so that "better" means the same everywhere.

Each is written once, for weighted rows and for many weightings at a time: a resample of the
bootstrap is a weighting, and the plain metric is the one in which every row counts once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import lazy_loader as lazy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike
else:
    np = lazy.load("numpy")

Kind = Literal["classification", "regression"]


class UndefinedMetricError(ValueError):
    """A metric has no value on these rows."""


@dataclass(frozen=True)
class Metric:
    """A function of truth and score, and whether more of it is better.

    For classification a score is the probability of the positive class; for regression it is the
    predicted value in the label's unit.
    """

    name: str
    kind: Kind
    weighted: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    """`(truth, score, weights) -> values`: rows; rows; weightings x rows; weightings. NaN where a
    weighting leaves the metric undefined, as an area under the ROC curve is for one class."""
    higher_is_better: bool

    def __call__(self, truth: ArrayLike, score: ArrayLike) -> float:
        """The metric where every row counts once.

        Raises UndefinedMetricError where there are no rows, missing values or, to rank, one class.
        """
        truths, scores = np.asarray(truth, dtype="float64"), np.asarray(score, dtype="float64")
        value = float("nan")
        if truths.size:
            value = float(self.weighted(truths, scores, np.ones((1, truths.size)))[0])
        if not np.isfinite(value):
            missing = int(np.isnan(truths).sum() + np.isnan(scores).sum())
            raise UndefinedMetricError(
                f"{self.name} is undefined on these {truths.size} rows: {missing} missing values,"
                f" {np.unique(truths).size} distinct values of the truth"
            )
        return value

    def gain(self, new: float, old: float) -> float:
        """How much better `new` is than `old`; negative when it is worse."""
        return new - old if self.higher_is_better else old - new


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    means: np.ndarray = weights @ values / weights.sum(axis=1)
    return means


def _log_loss(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    p = np.clip(score, 1e-15, 1 - 1e-15)
    return _mean(-np.where(truth > 0.5, np.log(p), np.log1p(-p)), weights)


def _squared_error(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return _mean(np.square(truth - score), weights)


def _rmse(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(_squared_error(truth, score, weights)))


def _mae(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return _mean(np.abs(truth - score), weights)


def _r2(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    squares = np.square(truth - truth.mean())
    variance = _mean(squares, weights) - np.square(_mean(truth - truth.mean(), weights))
    variance = np.where(variance > 1e-12 * squares.mean(), variance, np.nan)
    return np.asarray(1 - _squared_error(truth, score, weights) / variance)


def _roc_auc(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How often a positive ranks above a negative; a tie counts half (Mann and Whitney's U)."""
    positive, negative = _by_score(truth, score, weights)
    below = np.cumsum(negative, axis=1) - negative / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.einsum("ij,ij->i", positive, below) / pairs)


def _average_precision(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The precision at each threshold, weighted by the recall that the threshold adds."""
    positive, negative = _by_score(truth, -score, weights)
    hits = np.cumsum(positive, axis=1)
    with np.errstate(invalid="ignore"):
        precision = np.nan_to_num(hits / (hits + np.cumsum(negative, axis=1)))
        return np.asarray(np.einsum("ij,ij->i", positive, precision) / hits[:, -1])


def _by_score(
    truth: np.ndarray, score: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the positives and of the negatives at each distinct score, the lowest first."""
    order = np.argsort(score, kind="stable")
    ranked, positives = weights[:, order], truth[order] > 0.5
    starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
    positive, negative = ranked * positives, ranked * ~positives
    if starts.size < score.size:
        positive = np.add.reduceat(positive, starts, axis=1)
        negative = np.add.reduceat(negative, starts, axis=1)
    return positive, negative


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("log_loss", "classification", _log_loss, higher_is_better=False),
        Metric("roc_auc", "classification", _roc_auc, higher_is_better=True),
        Metric("brier", "classification", _squared_error, higher_is_better=False),
        Metric("average_precision", "classification", _average_precision, higher_is_better=True),
        Metric("rmse", "regression", _rmse, higher_is_better=False),
        Metric("mae", "regression", _mae, higher_is_better=False),
        Metric("r2", "regression", _r2, higher_is_better=True),
    )
}
