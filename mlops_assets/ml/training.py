"""Tuning and training: hyper-parameters are chosen on weeks after those that were trained on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import pandas as pd

from mlops_assets.ml.families import ModelFamily
from mlops_assets.ml.metrics import METRICS, Metric
from mlops_assets.ml.models import score

logger = logging.getLogger(__name__)
optuna.logging.set_verbosity(optuna.logging.WARNING)  # a line a trial is ours to write

Fold = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Trial:
    """One choice of hyper-parameters and its objective on each validation week."""

    family: str
    params: Mapping[str, Any]
    values: tuple[float, ...]

    @property
    def value(self) -> float:
        return float(np.mean(self.values))


@dataclass(frozen=True)
class Search:
    """All trials, the best of them, and its scores of the validation weeks (missing elsewhere)."""

    trials: tuple[Trial, ...]
    best: Trial
    validation_scores: np.ndarray


def search(
    families: Sequence[ModelFamily],
    features: pd.DataFrame,
    label: np.ndarray,
    folds: Sequence[Fold],
    *,
    objective: str,
    trials: int,
    seed: int,
) -> Search:
    """Try `trials` hyper-parameters of each family by Optuna's TPE sampler, in a fixed order.

    `features` and `label` have a row each; `folds` are positions as `splits.weekly_folds` gives.
    Equal inputs give equal trials. Raises ValueError where there is no fold to validate on.
    """
    if not folds:
        raise ValueError("no week to validate on: the training window is too short")
    metric = METRICS[objective]
    tried: list[tuple[Trial, np.ndarray]] = []
    for family in families:
        study = optuna.create_study(
            direction="maximize" if metric.higher_is_better else "minimize",
            sampler=optuna.samplers.TPESampler(seed=seed),
        )
        study.optimize(_objective(family, features, label, folds, metric, seed, tried), trials)
    best, scores = min(tried, key=lambda found: -metric.gain(found[0].value, 0.0))
    return Search(tuple(trial for trial, _ in tried), best, scores)


def fit(
    families: Sequence[ModelFamily],
    trial: Trial,
    features: pd.DataFrame,
    label: np.ndarray,
    seed: int,
) -> Any:
    """The model of a trial, trained on all the rows given."""
    family = next(family for family in families if family.name == trial.family)
    return family.build(trial.params, seed).fit(features, label)


def _objective(
    family: ModelFamily,
    features: pd.DataFrame,
    label: np.ndarray,
    folds: Sequence[Fold],
    metric: Metric,
    seed: int,
    tried: list[tuple[Trial, np.ndarray]],
) -> Callable[[optuna.Trial], float]:
    def objective(attempt: optuna.Trial) -> float:
        params = dict(family.space(attempt))
        scores = np.full(len(label), np.nan)
        for train, validation in folds:
            model = family.build(params, seed).fit(features.iloc[train], label[train])
            scores[validation] = score(model, features.iloc[validation])
        values = tuple(metric(label[rows], scores[rows]) for _, rows in folds)
        trial = Trial(family.name, params, values)
        tried.append((trial, scores))
        logger.info("%s %d: %s %.4f", family.name, attempt.number + 1, metric.name, trial.value)
        return trial.value

    return objective
