"""Model families: what training may try."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna import Trial
    from sklearn.base import BaseEstimator


@dataclass(frozen=True)
class ModelFamily:
    """A kind of model and the hyper-parameters worth trying.

    `space(trial)` suggests hyper-parameters; `build(params, seed)` returns an unfitted
    scikit-learn estimator that takes a DataFrame of the use case's features.
    """

    name: str
    space: Callable[[Trial], Mapping[str, Any]]
    build: Callable[[Mapping[str, Any], int], BaseEstimator]
