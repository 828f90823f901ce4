"""Metrics by name, each with its direction, so that "better" means the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import lazy_loader as lazy

if TYPE_CHECKING:
    import numpy as np
else:
    np = lazy.load("numpy")

Kind = Literal["classification", "regression"]


@dataclass(frozen=True)
class Metric:
    """A function of truth and score, and whether more of it is better.

    For classification a score is the probability of the positive class; for regression it is the
    predicted value in the label's unit.
    """

    name: str
    kind: Kind
    function: Callable[[np.ndarray, np.ndarray], float]
    higher_is_better: bool

    def __call__(self, truth: np.ndarray, score: np.ndarray) -> float:
        return float(self.function(truth, score))

    def gain(self, new: float, old: float) -> float:
        """How much better `new` is than `old`; negative when it is worse."""
        return new - old if self.higher_is_better else old - new


def _log_loss(truth: np.ndarray, score: np.ndarray) -> float:
    p = np.clip(score, 1e-15, 1 - 1e-15)
    return float(-np.mean(np.where(truth > 0.5, np.log(p), np.log1p(-p))))


def _roc_auc(truth: np.ndarray, score: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth, score))


def _average_precision(truth: np.ndarray, score: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(truth, score))


def _squared_error(truth: np.ndarray, score: np.ndarray) -> float:
    return float(np.mean(np.square(truth - score)))


def _rmse(truth: np.ndarray, score: np.ndarray) -> float:
    return _squared_error(truth, score) ** 0.5


def _mae(truth: np.ndarray, score: np.ndarray) -> float:
    return float(np.mean(np.abs(truth - score)))


def _r2(truth: np.ndarray, score: np.ndarray) -> float:
    return 1 - _squared_error(truth, score) / float(np.var(truth))


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
