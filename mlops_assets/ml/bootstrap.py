"""How sure a metric is: the bootstrap over rows, paired when models are compared on the same rows.

Rows are drawn with replacement; the spread of a metric over such resamples stands for its spread
over samples (B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and
16). A resample is a vector of counts, so all resamples are computed as one product of matrices.

Rows that share their fate, as flights of the same hour share the weather, are drawn together, in
blocks. Drawn one by one they would look like more evidence than they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import NormalDist
from typing import TYPE_CHECKING

import lazy_loader as lazy

from mlops_assets.ml.metrics import Metric

if TYPE_CHECKING:
    import numpy as np
else:
    np = lazy.load("numpy")

RESAMPLES = 1_000
CONFIDENCE = 0.95
MIN_BLOCKS = 5
"""Fewer say nothing about how much blocks differ."""
_IN_MEMORY = 1_000_000
"""Counts held at a time."""


@dataclass(frozen=True)
class Interval:
    """An estimate between the ends of its two-sided interval; an end may be infinite."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Bootstrap:
    """One metric of some models on the same rows, and on the same resamples of these rows.

    `values` holds the metric of each model, `draws` its values over the resamples, NaN where a
    resample leaves it undefined. Such a resample counts as the worst case for a lower end and as
    the best case for an upper one: what cannot be measured proves nothing.
    """

    metric: Metric
    values: Mapping[str, float]
    draws: Mapping[str, np.ndarray]

    def interval(self, model: str, confidence: float = CONFIDENCE) -> Interval:
        """The metric of one model with its two-sided percentile interval."""
        return _interval(self.values[model], self.draws[model], confidence)

    def gain(self, new: str, old: str, confidence: float = CONFIDENCE) -> Interval:
        """How much better `new` is than `old`, with its two-sided percentile interval."""
        return _interval(*self.gains(new, old), confidence)

    def gains(self, new: str, old: str | None = None) -> tuple[float, np.ndarray]:
        """The gain of `new` over `old`, on the rows and on each resample of them.

        Over None it is the metric itself, signed so that more is better.
        """
        sign = 1 if self.metric.higher_is_better else -1
        if old is None:
            return sign * self.values[new], sign * self.draws[new]
        gain = self.metric.gain(self.values[new], self.values[old])
        return gain, sign * (self.draws[new] - self.draws[old])


def bootstrap(
    metrics: Sequence[Metric],
    truth: np.ndarray,
    scores: Mapping[str, np.ndarray],
    *,
    blocks: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Bootstrap]:
    """Each metric, by its name, of each model's scores; all see the same resamples.

    `blocks` names the block of each row; None: each row is one. From fewer than `MIN_BLOCKS` no
    spread can be told: all draws are NaN, all intervals infinite. The order of the rows does not
    matter: equal rows and seeds give equal results.
    Raises UndefinedMetricError where a metric is undefined on the rows themselves.
    """
    truth, scores, codes = _ordered(truth, scores, blocks)
    values = {metric.name: _values(metric, truth, scores) for metric in metrics}
    draws: dict[tuple[str, str], list[np.ndarray]] = defaultdict(list)
    for weights in _resamples(codes, resamples, seed):
        for metric, (model, score) in product(metrics, scores.items()):
            draws[metric.name, model].append(metric.weighted(truth, score, weights))
    return {
        metric.name: Bootstrap(
            metric,
            values[metric.name],
            {model: np.concatenate(draws[metric.name, model]) for model in scores},
        )
        for metric in metrics
    }


def lower_bound(draws: np.ndarray, confidence: float = CONFIDENCE) -> float:
    """What the estimate exceeds with this confidence: one-sided, percentile method."""
    known = np.where(np.isnan(draws), -np.inf, draws)
    return float(np.quantile(known, 1 - confidence, method="lower"))


def upper_bound(draws: np.ndarray, confidence: float = CONFIDENCE) -> float:
    """What the estimate stays below with this confidence: one-sided, percentile method."""
    return -lower_bound(-draws, confidence)


def pooled_bounds(
    values: np.ndarray, errors: np.ndarray, confidence: float = CONFIDENCE
) -> np.ndarray:
    """What the true value of each group exceeds with this confidence, judged among its peers.

    `values` are estimates of one quantity in several groups, `errors` their standard errors. Each
    is drawn towards the mean of all, the more so the noisier it is and the less the groups differ
    beyond noise. So looking at many groups needs no further correction: the worst of sixteen noisy
    groups is no longer the unluckiest one. Correcting each bound for the number of groups would go
    the wrong way, for it refuses even more models that are good everywhere.

    What that buys, for 16 groups and a tolerated loss of 2 standard errors: a model without loss
    passes 93 times in 100 (never, if each group must prove itself alone), one that loses what is
    tolerated in every group 3 times in 100. The price: a loss in a single group must stand out.
    3 standard errors beyond what is tolerated it is overlooked 4 times in 100, 1 beyond 45 times.

    Source: the random-effects model of R. DerSimonian and N. Laird (Meta-analysis in clinical
    trials, 1986), whose group effects are bounded here; why that settles multiplicity, A. Gelman,
    J. Hill and M. Yajima (Why we usually don't have to worry about multiple comparisons, 2012).
    """
    if not errors.any():
        return values
    noise = np.maximum(np.square(errors), np.square(errors.max()) * 1e-9)
    between = _variance_between(values, noise)
    mean, mean_variance = _weighted_mean(values, 1 / (noise + between))
    own = between / (between + noise)
    variance = own * noise + np.square(1 - own) * mean_variance
    z = NormalDist().inv_cdf(confidence)
    return np.asarray(mean + own * (values - mean) - z * np.sqrt(variance))


def _variance_between(values: np.ndarray, noise: np.ndarray) -> float:
    """How much the groups' true values vary, beyond what noise explains: the larger of two.

    DerSimonian and Laird's, which weights groups by precision, sees the large group that differs.
    Cochran's, which does not, sees the noisy one that differs while models agree on all others.
    """
    if values.size == 1:
        return 0.0
    weights = 1 / noise
    mean, _ = _weighted_mean(values, weights)
    excess = float(weights @ np.square(values - mean)) - (values.size - 1)
    scale = float(weights.sum() - np.square(weights).sum() / weights.sum())
    return max(0.0, excess / scale, float(values.var(ddof=1) - noise.mean()))


def _weighted_mean(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """The mean and its variance, where weights are inverse variances."""
    return float(weights @ values / weights.sum()), float(1 / weights.sum())


def _values(
    metric: Metric, truth: np.ndarray, scores: Mapping[str, np.ndarray]
) -> dict[str, float]:
    return {model: metric(truth, score) for model, score in scores.items()}


def _interval(value: float, draws: np.ndarray, confidence: float) -> Interval:
    """The percentile interval, stretched where need be to hold the estimate itself."""
    one_sided = (1 + confidence) / 2
    low, high = lower_bound(draws, one_sided), upper_bound(draws, one_sided)
    return Interval(value, min(low, value), max(high, value))


def _ordered(
    truth: np.ndarray, scores: Mapping[str, np.ndarray], blocks: np.ndarray | None
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """The rows in an order of their own, so that a seed means the same for the same rows.

    The third is the number, from 0 on, of each row's block.
    """
    truth = np.asarray(truth, dtype="float64")
    arrays = {name: np.asarray(score, dtype="float64") for name, score in scores.items()}
    by = [*(arrays[name] for name in sorted(arrays)), truth]
    if blocks is None:
        order, codes = np.lexsort(by), np.arange(truth.size)
    else:
        numbers = np.unique(blocks, return_inverse=True)[1]
        order = np.lexsort([numbers, *by])
        codes = numbers[order]
    return truth[order], {name: array[order] for name, array in arrays.items()}, codes


def _resamples(blocks: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each row is drawn in each resample, some resamples at a time."""
    rng = np.random.default_rng(seed)
    number, step = int(blocks.max()) + 1, max(1, _IN_MEMORY // blocks.size)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = rng.integers(number, size=(size, number)) + number * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * number).astype("float64")
        if number < MIN_BLOCKS:
            counts[:] = np.nan
        yield counts.reshape(size, number)[:, blocks]
