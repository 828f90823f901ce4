"""How much a share or a correlation differs from week to week though nothing has changed.

Two things move the share p of rows for which something holds: the rows that a window happens to
have (binomial noise) and the week it happens to be (natural variation). Shares are compared as
angles, 2·arcsin(√p), on which the binomial noise has the same variance, 1/n, for every p, and whose
differences are Cohen's h. The natural variation of the angle is estimated from whole blocks (weeks)
of the reference; as those are few, a new week is expected within a Student-t distribution, not a
normal one. A random-effects model, in other words, whose tails are exact for small counts, too.

Source: Cohen, Statistical Power Analysis (1988), chapter 6, for h; DerSimonian and Laird (1986) for
the split of the variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy import special, stats

CONFIDENCE = 0.9
"""The natural variation is taken at this upper bound of its estimate: weeks resemble their
neighbours, so those of a reference differ less from each other than from one to come."""
NODES = 121
TAIL = 1e-9
SPEARMAN_VARIANCE = 1.06  # of atanh(r), times n - 3 (Fieller, Hartley and Pearson, 1957)
MAX_CORRELATION = 0.999


@dataclass(frozen=True)
class Rates:
    """Shares of a reference's rows and what is natural for them.

    `share` and `natural` have one number for each event: the share of rows for which it holds, and
    the variance of its angle from block to block. `rows` and `blocks` say what the share was
    estimated from, `df` the degrees of freedom of the variance.
    """

    share: tuple[float, ...]
    natural: tuple[float, ...]
    rows: int
    blocks: int
    df: int

    @classmethod
    def observe(cls, hits: np.ndarray, rows: np.ndarray) -> Rates:
        """Estimate from `hits` (blocks × events) among `rows` (blocks), all of them positive."""
        natural = excess_variance(angle(hits / rows[:, None]), 1 / rows)
        total, blocks = int(rows.sum()), len(rows)
        share = _share(hits.sum(axis=0), total)
        return cls(share, tuple(natural.tolist()), total, blocks, df=blocks - 1)

    def recentred(self, hits: np.ndarray, rows: int, blocks: int) -> Rates:
        """The same natural variation, around the shares seen in other rows."""
        return replace(self, share=_share(hits, rows), rows=rows, blocks=blocks)

    @property
    def scale(self) -> np.ndarray:
        """Of the angle of a new block's true share around what is known of the reference's."""
        return np.sqrt(np.array(self.natural) * (1 + 1 / self.blocks) + 1 / self.rows)

    def p_values(self, hits: np.ndarray, rows: int) -> np.ndarray:
        """Two-sided: how likely `hits` among `rows` are, or more extreme ones, if all is natural.

        The binomial tail, averaged over the natural variation of the share.
        """
        nodes, weights = _student(self.df)
        centre = angle(np.array(self.share))
        angles = np.clip(centre[:, None] + self.scale[:, None] * nodes, 0, np.pi)
        p = np.sin(angles / 2) ** 2
        x = np.asarray(hits, dtype="float64")[:, None]
        high = x >= rows * np.array(self.share)[:, None]
        # P(X >= x) and P(X <= x) of a binomial, as incomplete beta functions of p and of 1 - p
        a, b = np.where(high, x, rows - x), np.where(high, rows - x + 1, x + 1)
        inside = special.betainc(np.maximum(a, 1e-300), b, np.where(high, p, 1 - p))
        one_sided = np.where(a > 0, inside, 1.0) @ weights
        return np.asarray(np.minimum(2 * (one_sided + TAIL), 1))

    def effects(self, hits: np.ndarray, rows: int) -> np.ndarray:
        """Cohen's h: the difference of the angles, from -π to π; 0.2 is small, 0.8 is large."""
        return np.asarray(angle(np.asarray(hits) / rows) - angle(np.array(self.share)))


@dataclass(frozen=True)
class Correlation:
    """A rank correlation in a reference, as atanh(r), and the scale of a new block's around it."""

    z: float
    spread: float
    blocks: int

    @classmethod
    def observe(cls, blocks: Sequence[tuple[float, int]], pooled: float) -> Correlation:
        """Estimate from (correlation, rows) of each block, and the correlation of all rows.

        A block's and the whole reference's correlation differ where columns move together from
        block to block; a window may be like either.
        """
        z = fisher(np.array([r for r, _ in blocks]))
        noise = np.array([_noise(r, rows) for r, rows in blocks])
        centre, count = float(z.mean()), len(blocks)
        natural = float(excess_variance(z[:, None], noise)[0]) * (1 + 1 / count)
        mixed = (float(fisher(np.array(pooled))) - centre) ** 2
        return cls(centre, float(np.sqrt(natural + mixed + noise.mean() / count)), count)

    @property
    def r(self) -> float:
        return float(np.tanh(self.z))

    def p_value(self, r: float, rows: int) -> float:
        """Two-sided: how likely a correlation of `r` in `rows` rows is if all is natural."""
        scale = np.sqrt(self.spread**2 + _noise(self.r, rows))
        distance = abs(float(fisher(np.array(r))) - self.z)
        return float(2 * stats.t.sf(distance / scale, self.blocks - 1))


def _share(hits: np.ndarray, rows: int) -> tuple[float, ...]:
    """Shares that are never quite zero or one: the reference is a sample, too."""
    return tuple(((hits + 0.5) / (rows + 1)).tolist())


def angle(share: np.ndarray) -> np.ndarray:
    """Shares as angles from 0 to π."""
    return np.asarray(2 * np.arcsin(np.sqrt(share)))


def fisher(r: np.ndarray) -> np.ndarray:
    """Correlations on a scale where their noise hardly depends on them."""
    return np.asarray(np.arctanh(np.clip(r, -MAX_CORRELATION, MAX_CORRELATION)))


def excess_variance(values: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Variance of `values` (blocks × events) beyond that of their `noise` (blocks): an upper bound.

    Zero where noise alone explains the bound.
    """
    df = len(values) - 1
    upper = df / stats.chi2.ppf(1 - CONFIDENCE, df)
    bound = values.var(axis=0, ddof=1) * upper - noise.mean()
    return np.asarray(np.maximum(bound, 0.0))


def _noise(r: float, rows: int) -> float:
    return SPEARMAN_VARIANCE * (1 + r**2 / 2) / max(rows - 3, 1)


@cache
def _student(df: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights to average over Student's t, close at the centre and wide in the tails."""
    end = float(np.arcsinh(stats.t.isf(TAIL, df)))
    grid = np.linspace(-end, end, NODES)
    nodes = np.sinh(grid)
    weights = stats.t.pdf(nodes, df) * np.cosh(grid)
    return nodes, weights / weights.sum()
