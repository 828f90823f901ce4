from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from mlops_assets.ml import models
from mlops_assets.ml.families import ModelFamily
from mlops_assets.ml.splits import weekly_folds
from mlops_assets.ml.training import fit, search

START = pd.Timestamp("2024-01-01", tz="UTC")


def problem(rows: int = 300):
    random = np.random.default_rng(0)
    features = pd.DataFrame({"x": random.normal(size=rows), "z": random.normal(size=rows)})
    label = (features["x"] + random.normal(size=rows) > 0).to_numpy("float64")
    times = pd.Series(START + pd.to_timedelta(np.linspace(0, 35, rows), unit="D"))
    return features, label, list(weekly_folds(times, times, 3))


GOOD = ModelFamily(
    "good", lambda t: {"C": t.suggest_float("C", 0.1, 1)}, lambda p, _: LogisticRegression(**p)
)
BLIND = ModelFamily(
    "blind", lambda t: {"C": t.suggest_float("C", 1e-9, 1e-8)}, lambda p, _: LogisticRegression(**p)
)


@given(st.lists(st.floats(0, 60), min_size=2, max_size=60), st.integers(1, 4), st.floats(0, 10))
def test_validation_always_comes_after_training(days, folds, delay):
    times = pd.Series(START + pd.to_timedelta(days, unit="D"))
    matured = times + pd.Timedelta(days=delay)
    seen: list[int] = []
    for train, validation in weekly_folds(times, matured, folds):
        assert times[train].max() < times[validation].min()
        assert matured[train].max() <= times[validation].min()
        seen += list(validation)
    assert len(seen) == len(set(seen))


def test_folds_are_the_last_weeks():
    times = pd.Series(pd.date_range(START, periods=70, freq="D"))
    folds = list(weekly_folds(times, times, 3))
    assert [len(validation) for _, validation in folds] == [7, 7, 7]
    assert folds[-1][1][-1] == 69


def test_the_search_finds_the_better_family_and_repeats_itself():
    features, label, folds = problem()
    first, again = (
        search((BLIND, GOOD), features, label, folds, objective="log_loss", trials=2, seed=1)
        for _ in range(2)
    )
    assert first.best.family == "good"
    assert first.trials == again.trials
    assert len(first.trials) == 4
    validated = np.concatenate([rows for _, rows in folds])
    assert np.isfinite(first.validation_scores[validated]).all()


def test_metrics_of_which_more_is_better_are_maximised():
    features, label, folds = problem()
    found = search((BLIND, GOOD), features, label, folds, objective="roc_auc", trials=2, seed=1)
    assert found.best.value == max(trial.value for trial in found.trials)


def test_no_fold_is_an_error():
    features, label, _ = problem()
    with pytest.raises(ValueError, match="the training window is too short"):
        search((GOOD,), features, label, [], objective="log_loss", trials=1, seed=0)


def test_a_trial_can_be_fitted_again():
    features, label, folds = problem()
    found = search((GOOD,), features, label, folds, objective="log_loss", trials=1, seed=0)
    model = fit((BLIND, GOOD), found.best, features, label, seed=0)
    assert found.best.params["C"] == model.C


def test_model_files_are_the_same_in_another_process():
    code = (
        "import hashlib; from mlops_assets_tests.ml.test_training import file;"
        "print(hashlib.sha256(file()).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == hashlib.sha256(file()).hexdigest()


def file() -> bytes:
    features, label, _ = problem()
    return models.dump(
        HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(features, label)
    )


def test_a_loaded_model_scores_as_it_did():
    features, label, _ = problem()
    model = HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(features, label)
    np.testing.assert_array_equal(
        models.score(models.load(models.dump(model)), features), models.score(model, features)
    )
