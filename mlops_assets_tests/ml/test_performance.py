from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mlops_assets.ml import performance
from mlops_assets.ml.metrics import METRICS

METRIC_NAMES = ("log_loss", "roc_auc", "brier")
PROMISED_DAYS = 28
ROWS = 200


def days(
    rng: np.random.Generator, count: int, hardness: float = 0.3, skill: float = 1.0, bias: float = 0
) -> dict[str, list[float]]:
    """Measures of days that differ in how many positives they have.

    `skill` 1 means that the scores are the true probabilities, 0 that they know nothing of a row;
    `bias` moves the truth's log odds away from what the scores say.
    """
    day = np.repeat(np.arange(count), ROWS)
    level = rng.normal(-1, hardness, count)[day]
    known = rng.normal(0, 1.2, len(day))
    truth = rng.random(len(day)) < 1 / (1 + np.exp(-(level + known + bias)))
    noise = rng.permutation(known)
    score = 1 / (1 + np.exp(-(level + skill * known + (1 - skill) * noise)))
    times = pd.Series(pd.Timestamp("2024-01-01") + pd.to_timedelta(day, unit="D"))
    return performance.daily(METRIC_NAMES, truth.astype(float), score, times)


def failures(promised, current) -> list[performance.Comparison]:
    found = performance.compare(METRIC_NAMES, promised, current)
    return [comparison for comparison in found if comparison.failed]


def test_a_promise_that_is_kept_fails_at_most_as_often_as_declared():
    rng = np.random.default_rng(0)
    weeks = [failures(days(rng, PROMISED_DAYS), days(rng, 7)) for _ in range(150)]
    alarms = sum(map(bool, weeks))
    assert stats.binom.sf(alarms - 1, len(weeks), performance.ALPHA) > 1e-4


def test_scores_without_skill_break_the_promise_of_the_evaluation():
    rng = np.random.default_rng(1)
    found = failures(days(rng, PROMISED_DAYS), days(rng, 7, skill=0.0))
    assert "roc_auc" in {comparison.measure for comparison in found}
    assert all(comparison.shortfall > comparison.limit for comparison in found)
    assert any("worse than promised" in comparison.message for comparison in found)


def test_a_world_that_moved_breaks_the_claim_of_the_scores():
    rng = np.random.default_rng(2)
    found = failures(days(rng, PROMISED_DAYS), days(rng, 7, bias=1.0))
    assert "log_loss_vs_claim" in {comparison.measure for comparison in found}


def test_a_hard_week_that_scores_foresee_keeps_their_claim():
    rng = np.random.default_rng(3)
    promised = days(rng, PROMISED_DAYS, hardness=0.05)
    truth, score = [], []
    for _ in range(7):
        p = rng.uniform(0.35, 0.65, ROWS)
        truth.append(rng.random(ROWS) < p)
        score.append(p)
    times = pd.Series(
        pd.Timestamp("2024-03-01") + pd.to_timedelta(np.arange(7 * ROWS) // ROWS, "D")
    )
    hard = performance.daily(
        METRIC_NAMES, np.concatenate(truth).astype(float), np.concatenate(score), times
    )
    measures = {comparison.measure for comparison in failures(promised, hard)}
    assert "log_loss" in measures
    assert "log_loss_vs_claim" not in measures


def test_getting_better_is_no_failure():
    rng = np.random.default_rng(4)
    assert not failures(days(rng, PROMISED_DAYS, skill=0.0), days(rng, 7))


@pytest.mark.parametrize("name", ["log_loss", "brier", "roc_auc"])
def test_what_scores_claim_is_what_happens_if_they_are_right(name):
    rng = np.random.default_rng(5)
    score = rng.beta(2, 5, 200_000)
    truth = (rng.random(len(score)) < score).astype(float)
    expected = METRICS[name](truth, score)
    assert performance.claimed(METRICS[name], score) == pytest.approx(expected, abs=0.005)


def test_a_regression_claims_nothing():
    rng = np.random.default_rng(6)
    times = pd.Series(pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(400) // 20, "D"))
    truth = rng.normal(size=400)
    good = performance.daily(["rmse"], truth, truth + rng.normal(0, 0.1, 400), times)
    bad = performance.daily(["rmse"], truth, truth + rng.normal(0, 0.3, 400), times)
    assert set(good) == {"rmse"}
    assert performance.compare(["rmse"], good, bad)[0].failed
    assert not performance.compare(["rmse"], good, good)[0].failed


def test_days_on_which_a_metric_is_undefined_or_with_few_rows_are_left_out():
    times = pd.Series(pd.to_datetime(["2024-01-01"] * 20 + ["2024-01-02"] * 20 + ["2024-01-03"]))
    truth = np.array([1.0] * 20 + [1.0, 0.0] * 10 + [1.0])
    found = performance.daily(["log_loss", "roc_auc"], truth, np.full(41, 0.5), times)
    assert len(found["log_loss"]) == 2
    assert len(found["roc_auc"]) == 1


def test_nothing_to_compare_is_said():
    with pytest.raises(ValueError, match="there is nothing to compare"):
        performance.compare(["rmse"], {"rmse": [1.0, 2.0]}, {"rmse": [1.0]})
