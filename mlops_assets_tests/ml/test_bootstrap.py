from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from mlops_assets.ml.bootstrap import bootstrap, lower_bound, pooled_bounds, upper_bound
from mlops_assets.ml.metrics import METRICS, UndefinedMetricError

CLASSIFICATION = [m for m in METRICS.values() if m.kind == "classification"]
REGRESSION = [m for m in METRICS.values() if m.kind == "regression"]


def rows(seed: int, size: int = 120, noise: float = 0.1):
    """Truth and scores of two models of a classification."""
    random = np.random.default_rng(seed)
    p = random.beta(2, 3, size)
    truth = (random.random(size) < p).astype("float64")
    truth[:2] = [0.0, 1.0]
    new, old = (np.clip(p + random.normal(0, s, size), 0.01, 0.99) for s in (noise, 2 * noise))
    return truth, {"new": new, "old": old}


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(10, 150))
def test_the_order_of_rows_does_not_matter(seed, size):
    truth, scores = rows(seed, size)
    order = np.random.default_rng(seed).permutation(size)
    shuffled = {name: score[order] for name, score in scores.items()}
    ours = bootstrap(CLASSIFICATION, truth, scores, resamples=50, seed=seed)
    theirs = bootstrap(CLASSIFICATION, truth[order], shuffled, resamples=50, seed=seed)
    for name in ours:
        assert ours[name].gain("new", "old") == theirs[name].gain("new", "old")
        assert ours[name].interval("new") == theirs[name].interval("new")


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(5, 150))
def test_equal_models_gain_exactly_nothing(seed, size):
    truth, scores = rows(seed, size)
    twins = {"new": scores["new"], "old": scores["new"].copy()}
    for metric in CLASSIFICATION + REGRESSION:
        found = bootstrap([metric], truth, twins, resamples=50, seed=seed)[metric.name]
        gain, draws = found.gains("new", "old")
        assert gain == 0
        assert not draws[np.isfinite(draws)].any()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(3, 150))
def test_an_interval_holds_its_estimate(seed, size):
    truth, scores = rows(seed, size)
    for metric in CLASSIFICATION + REGRESSION:
        found = bootstrap([metric], truth, scores, resamples=50, seed=seed)[metric.name]
        for estimate in (found.interval("new"), found.gain("new", "old")):
            assert estimate.low <= estimate.value <= estimate.high


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_swapping_the_models_turns_the_gain_round(seed):
    truth, scores = rows(seed)
    found = bootstrap(CLASSIFICATION, truth, scores, resamples=50, seed=seed)
    for metric in found.values():
        assert metric.gains("new", "old")[0] == -metric.gains("old", "new")[0]
        np.testing.assert_array_equal(metric.gains("new", "old")[1], -metric.gains("old", "new")[1])


def test_the_same_seed_gives_the_same_draws_and_another_seed_others():
    truth, scores = rows(0)
    one, same, other = (
        bootstrap(CLASSIFICATION, truth, scores, resamples=50, seed=s)["roc_auc"].draws["new"]
        for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_blocks_of_resamples_join_to_the_number_asked_for():
    truth, scores = rows(0, size=30_000)  # a block holds 33 resamples of these
    found = bootstrap([METRICS["brier"]], truth, scores, resamples=70)
    draws = found["brier"].draws["new"]
    assert draws.shape == (70,)
    assert np.unique(draws).size == 70


@pytest.mark.parametrize("metric", ["rmse", "mae"])
def test_intervals_of_an_error_cover_the_truth_as_often_as_they_say(metric):
    true = {"rmse": 1.0, "mae": np.sqrt(2 / np.pi)}[metric]
    random = np.random.default_rng(7)
    covered = [_covers(metric, random.normal(size=200), np.zeros(200), true) for _ in range(300)]
    assert 0.90 <= np.mean(covered) <= 0.98


def test_intervals_of_a_ranking_cover_the_truth_as_often_as_they_say():
    random, truth = np.random.default_rng(8), np.repeat([0.0, 1.0], [150, 100])
    true = norm.cdf(1 / np.sqrt(2))
    covered = [_covers("roc_auc", truth, truth + random.normal(size=250), true) for _ in range(300)]
    assert 0.90 <= np.mean(covered) <= 0.98


def test_blocks_that_share_their_fate_widen_the_interval_to_what_it_should_be():
    """30 blocks of 10 rows whose errors have a common part: rows alone would cover far less."""
    random, blocks = np.random.default_rng(10), np.repeat(np.arange(30), 10)
    covered = {"rows": [], "blocks": []}
    for _ in range(200):
        error = random.normal(size=30)[blocks] + random.normal(size=300)
        for name, kind in (("rows", None), ("blocks", blocks)):
            covered[name].append(_covers("rmse", error, np.zeros(300), np.sqrt(2), kind))
    assert 0.88 <= np.mean(covered["blocks"]) <= 0.98
    assert np.mean(covered["rows"]) < 0.8


@pytest.mark.parametrize("blocks", [1, 4])
def test_few_blocks_tell_no_spread(blocks):
    truth, scores = rows(0)
    named = np.arange(len(truth)) % blocks
    for metric in bootstrap(CLASSIFICATION, truth, scores, blocks=named, resamples=20).values():
        estimate = metric.gain("new", "old")
        assert (estimate.low, estimate.high) == (-np.inf, np.inf)


def test_the_names_and_the_order_of_blocks_do_not_matter():
    truth, scores = rows(0)
    blocks = np.arange(len(truth)) % 12
    order = np.random.default_rng(0).permutation(len(truth))
    moved = {name: score[order] for name, score in scores.items()}
    one = bootstrap(CLASSIFICATION, truth, scores, blocks=blocks, resamples=50)
    two = bootstrap(CLASSIFICATION, truth[order], moved, blocks=blocks[order] + 7, resamples=50)
    for name in one:
        assert one[name].gain("new", "old") == two[name].gain("new", "old")


def _covers(
    metric: str,
    truth: np.ndarray,
    score: np.ndarray,
    true: float,
    blocks: np.ndarray | None = None,
) -> bool:
    found = bootstrap([METRICS[metric]], truth, {"m": score}, blocks=blocks, resamples=300)
    interval = found[metric].interval("m")
    return interval.low <= true <= interval.high


def test_one_sided_bounds_of_equal_models_are_crossed_as_often_as_they_say():
    """Two models that differ by noise only: how often does one prove an improvement?"""
    random = np.random.default_rng(9)
    proved = []
    for _ in range(400):
        truth = random.normal(size=200)
        scores = {name: random.normal(0, 0.3, 200) for name in ("new", "old")}
        found = bootstrap([METRICS["rmse"]], truth, scores, resamples=300)["rmse"]
        proved.append(lower_bound(found.gains("new", "old")[1]) > 0)
    assert 0.02 <= np.mean(proved) <= 0.085


def test_resamples_that_leave_the_metric_undefined_prove_nothing():
    truth = np.zeros(40)
    truth[0] = 1.0  # a resample lacks the only positive row with a chance of 36 %
    found = bootstrap([METRICS["roc_auc"]], truth, {"m": truth}, resamples=200)["roc_auc"]
    estimate = found.interval("m")
    assert estimate.value == 1
    assert estimate.low == -np.inf
    assert estimate.high == np.inf


def test_a_metric_undefined_on_the_rows_is_refused():
    with pytest.raises(UndefinedMetricError, match="roc_auc"):
        bootstrap([METRICS["roc_auc"]], np.zeros(20), {"m": np.linspace(0, 1, 20)})
    with pytest.raises(UndefinedMetricError, match="0 rows"):
        bootstrap([METRICS["brier"]], np.array([]), {"m": np.array([])})


def test_bounds_are_quantiles():
    draws = np.arange(1.0, 101.0)
    assert lower_bound(draws, 0.95) == 5
    assert upper_bound(draws, 0.95) == 96


def test_a_single_group_is_bounded_by_its_own_error():
    bound = pooled_bounds(np.array([0.3]), np.array([0.1]), 0.95)
    assert bound == pytest.approx([0.3 - 1.645 * 0.1], abs=1e-4)


def test_groups_without_noise_are_what_they_are():
    values = np.array([0.0, -0.5, 0.2])
    np.testing.assert_array_equal(pooled_bounds(values, np.zeros(3)), values)


def test_groups_that_differ_beyond_noise_speak_for_themselves():
    values, errors = np.array([0.0, -0.5, 0.2]), np.full(3, 0.001)
    np.testing.assert_allclose(pooled_bounds(values, errors), values - 1.645 * errors, atol=1e-4)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), groups=st.integers(1, 20))
def test_pooling_follows_groups_wherever_they_stand_and_whatever_their_unit(seed, groups):
    random = np.random.default_rng(seed)
    values, errors = random.normal(size=groups), random.uniform(0.1, 1, groups)
    bounds, order = pooled_bounds(values, errors), random.permutation(groups)
    np.testing.assert_allclose(pooled_bounds(values[order], errors[order]), bounds[order])
    np.testing.assert_allclose(pooled_bounds(10 * values + 3, 10 * errors), 10 * bounds + 3)


def _passes(losses: np.ndarray, errors: np.ndarray, tolerance: float = 2) -> float:
    """How often no group seems to lose more than is tolerated."""
    random = np.random.default_rng(1)
    gains = [random.normal(-losses, errors) for _ in range(1_000)]
    return float(np.mean([pooled_bounds(gain, errors).min() > -tolerance for gain in gains]))


def _lost_in_one(loss: float, group: int) -> np.ndarray:
    return np.where(np.arange(16) == group, loss, 0.0)


EQUAL = np.ones(16)
UNEQUAL = np.linspace(0.3, 1.2, 16)
AGREEING = np.where(np.arange(16) == 15, 1.0, 1e-7)
"""Two models that agree everywhere but in the last group."""


@pytest.mark.parametrize("errors", [EQUAL, UNEQUAL, AGREEING])
def test_the_noise_of_many_groups_refuses_no_good_model(errors):
    assert _passes(np.zeros(16), errors) >= 0.85


@pytest.mark.parametrize("errors", [EQUAL, UNEQUAL, AGREEING])
def test_the_noise_of_many_groups_passes_no_model_that_is_bad_everywhere(errors):
    assert _passes(np.full(16, 2.0), errors) <= 0.06


@pytest.mark.parametrize("errors", [EQUAL, UNEQUAL, AGREEING])
@pytest.mark.parametrize("group", [0, 15])
def test_the_noise_of_many_groups_hides_no_group_that_is_bad_alone(errors, group):
    assert _passes(_lost_in_one(5.5, group), errors) <= 0.05
