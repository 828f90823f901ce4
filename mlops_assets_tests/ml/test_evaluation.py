from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, LogisticRegression

from mlops_assets.ml import evaluation
from mlops_assets.ml.metrics import METRICS


def rows(seed: int = 0, size: int = 2_000):
    random = np.random.default_rng(seed)
    score = random.beta(2, 4, size)
    return (random.random(size) < score).astype("float64"), score


@pytest.mark.parametrize(
    ("values", "groups"),
    [
        (pd.Series(["b", None, "a"]), ["a", "b", "(missing)"]),
        (pd.Series([10, None, 2], dtype="Int64"), ["2", "10", "(missing)"]),
        (pd.Series([2.0, 0.5, np.nan]), ["0.5", "2", "(missing)"]),
        (pd.Series([True, None, False], dtype="boolean"), ["False", "True", "(missing)"]),
        (pd.Series([None, None], dtype=object), ["(missing)"]),
    ],
)
def test_groups_are_named_after_their_value_and_in_its_order(values, groups):
    labels = evaluation.group_labels(values)
    assert list(labels.cat.categories) == groups
    assert labels.notna().all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6) | st.none(), min_size=40, max_size=80, unique=True))
def test_a_number_of_many_values_is_cut_into_fifths(numbers):
    values = pd.Series(numbers, dtype="float64")
    labels = evaluation.group_labels(values)
    assert (labels[values.isna()] == evaluation.MISSING).all()
    fifths = labels[values.sort_values().dropna().index]
    assert fifths.cat.codes.is_monotonic_increasing
    assert fifths.value_counts().loc[fifths.unique()].between(len(fifths) // 5 - 1, 17).all()
    assert fifths.nunique() == 5


def test_calibrated_scores_lie_on_the_diagonal_and_others_do_not():
    truth, score = rows()
    curve = evaluation.calibration(truth, score)
    assert sum(point["rows"] for point in curve) == len(truth)
    assert np.mean([p["low"] <= p["predicted"] <= p["high"] for p in curve]) >= 0.8
    assert evaluation.calibration_error(curve) < 0.05
    assert evaluation.calibration_error(evaluation.calibration(truth, score / 2)) > 0.1


def test_calibration_takes_a_model_that_always_says_the_same():
    (point,) = evaluation.calibration(np.array([0.0, 1.0, 1.0, 0.0]), np.full(4, 0.3))
    assert point["observed"] == 0.5
    assert point["low"] < 0.5 < point["high"]


def test_the_confusion_counts_every_row_once():
    truth, score = np.array([1, 1, 0, 0, 0.0]), np.array([0.9, 0.2, 0.2, 0.1, 0.6])
    found = evaluation.confusion(truth, score, threshold=0.2)
    counts = [found[f"{a}_{b}"] for a in ("true", "false") for b in ("positive", "negative")]
    assert counts == [2, 1, 2, 0]
    assert found["recall"] == 1
    assert found["precision"] == 0.5
    assert found["balanced_accuracy"] == pytest.approx((1 + 1 / 3) / 2)


def test_the_roc_curve_encloses_its_area():
    truth, score = rows()
    curve = evaluation.roc(truth, score)
    area = np.trapezoid(curve["true_positive_rate"], curve["false_positive_rate"])
    assert area == pytest.approx(METRICS["roc_auc"](truth, score), abs=0.005)


def test_residuals_find_where_a_regression_is_biased():
    score = np.linspace(0, 100, 1_000)
    truth = score + np.where(score > 80, 7.0, 0.0)
    found = evaluation.residuals(truth, score)
    assert [round(p["median"]) for p in found] == [0] * 8 + [7] * 2
    assert evaluation.error_quantiles(truth, score)["0.99"] == pytest.approx(7)


def test_groups_have_metrics_of_their_own():
    truth, score = rows()
    labels = evaluation.group_labels(pd.Series(np.where(np.arange(2_000) < 1_990, "many", "few")))
    scores = {"candidate": score, "dummy": np.full(2_000, truth.mean())}
    (group,) = evaluation.by_group(["log_loss"], truth, scores, labels, resamples=50)
    assert (group["group"], group["rows"]) == ("many", 1_990)
    numbers = group["metrics"]["log_loss"]
    expected = METRICS["log_loss"](truth[:1_990], score[:1_990])
    assert numbers["candidate"] == pytest.approx(expected)
    assert numbers["candidate_low"] < expected < numbers["candidate_high"]
    assert numbers["gain_over_dummy"] == pytest.approx(numbers["dummy"] - expected)


def test_a_metric_that_a_group_leaves_undefined_is_none():
    truth, scores = np.zeros(60), {"candidate": np.linspace(0.1, 0.2, 60)}
    labels = evaluation.group_labels(pd.Series(["only"] * 60))
    (group,) = evaluation.by_group(["roc_auc", "brier"], truth, scores, labels, resamples=20)
    assert group["metrics"]["roc_auc"] is None
    assert group["metrics"]["brier"]["candidate"] > 0


@pytest.mark.parametrize(
    ("model", "metric"), [(LogisticRegression(), "log_loss"), (LinearRegression(), "rmse")]
)
def test_importance_belongs_to_the_feature_that_matters(model, metric):
    random = np.random.default_rng(0)
    features = pd.DataFrame(random.normal(size=(800, 3)), columns=["idle", "strong", "weak"])
    signal = 2 * features["strong"] + 0.7 * features["weak"] + random.normal(size=800)
    truth = (signal > 0).to_numpy("float64") if metric == "log_loss" else signal.to_numpy()
    fitted = model.fit(features, truth)
    found = evaluation.permutation_importance(fitted, features, truth, metric, seed=1, rows=500)
    assert list(found) == ["strong", "weak", "idle"]
    assert abs(found["idle"]) < 0.02 < found["weak"] < found["strong"]
    again = evaluation.permutation_importance(fitted, features, truth, metric, seed=1, rows=500)
    assert found == again
