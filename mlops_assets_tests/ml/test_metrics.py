from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from mlops_assets.ml.metrics import METRICS, UndefinedMetricError

REFERENCE = {
    "log_loss": lambda y, s, w: sk.log_loss(y, s, sample_weight=w, labels=[0, 1]),
    "roc_auc": lambda y, s, w: sk.roc_auc_score(y, s, sample_weight=w),
    "brier": lambda y, s, w: sk.brier_score_loss(y, s, sample_weight=w),
    "average_precision": lambda y, s, w: sk.average_precision_score(y, s, sample_weight=w),
    "rmse": lambda y, s, w: sk.root_mean_squared_error(y, s, sample_weight=w),
    "mae": lambda y, s, w: sk.mean_absolute_error(y, s, sample_weight=w),
    "r2": lambda y, s, w: sk.r2_score(y, s, sample_weight=w),
}


@st.composite
def weighted_rows(draw):
    """Truth of two classes, scores with many ties, and how often each row counts."""
    rows = draw(st.integers(2, 40))
    truth = draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=rows, max_size=rows))
    truth[:2] = [0.0, 1.0]
    tenths = draw(st.lists(st.integers(1, 9), min_size=rows, max_size=rows))
    weights = draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows))
    weights[:2] = [1, 2]
    return np.array(truth), np.array(tenths) / 10, np.array(weights, dtype="float64")


def test_every_metric_has_a_reference():
    assert set(REFERENCE) == set(METRICS)


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=60, deadline=None)
@given(rows=weighted_rows())
def test_metrics_agree_with_scikit_learn(name, rows):
    truth, score, weights = rows
    metric = METRICS[name]
    ones = np.ones_like(weights)
    assert metric(truth, score) == pytest.approx(REFERENCE[name](truth, score, ones))
    both = metric.weighted(truth, score, np.stack([weights, ones]))
    assert both[0] == pytest.approx(REFERENCE[name](truth, score, weights))
    assert both[1] == pytest.approx(metric(truth, score))


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_without_rows_or_with_missing_scores_is_no_number(name):
    with pytest.raises(UndefinedMetricError, match=f"{name} is undefined on these 0 rows"):
        METRICS[name](np.array([]), np.array([]))
    if name not in ("roc_auc", "average_precision"):  # there a missing score has a rank
        with pytest.raises(UndefinedMetricError, match="1 missing values"):
            METRICS[name](np.array([0.0, 1.0]), np.array([0.5, np.nan]))


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_one_class_cannot_be_ranked(name):
    with pytest.raises(UndefinedMetricError, match="1 distinct values of the truth"):
        METRICS[name](np.zeros(5), np.linspace(0, 1, 5))


def test_a_gain_is_positive_where_new_is_better():
    assert METRICS["log_loss"].gain(0.4, 0.5) == pytest.approx(0.1)
    assert METRICS["roc_auc"].gain(0.7, 0.8) == pytest.approx(-0.1)
