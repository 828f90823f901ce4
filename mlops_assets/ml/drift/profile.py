"""What is kept of a reference to recognise drift later: a few kilobytes, no rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd

from mlops_assets.ml.contract import Column
from mlops_assets.ml.drift.natural import Correlation, Rates

CUTS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
DISTINCT = 16
"""Numeric columns of no more values than this are cut at each of them."""
CATEGORIES = 100
"""How many categories are watched one by one, the most frequent first."""
RARE, FEW = 0.001, 20
"""Share and number of rows below which a category is watched only together with its like: had it
been picked for the few rows it happens to have, the share of all others would be understated."""
KNOWN = 5_000
"""How many categories are remembered, so as to recognise new ones."""
CORRELATED = 6
"""Correlations are watched between this many numeric columns, the most important first."""
LUMPED = 0.8
"""A column whose most frequent value takes more than this share has no meaningful ranks."""
MIN_BLOCKS = 5
"""Fewer weeks, or days, than this do not tell what is natural."""
FRAGMENT = 0.5
"""Blocks with less than this share of the median block's rows are cut off at the edges."""
SCORE = "score"

Value = float | str
Kind = Literal["numeric", "category"]


@dataclass(frozen=True)
class ColumnProfile:
    """One column of the reference.

    `events` are rates among the rows with a value: for a numeric column, values up to each of
    `cuts`; for a category, rows of each of `categories`, of one that is not `known`, of any but
    `categories`; for both, last, the most frequent value, `mode`. `missing` is the rate of rows
    without a value.
    """

    name: str
    kind: Kind
    importance: float
    distinct: int
    missing: Rates
    mode: Value | None = None
    events: Rates | None = None
    cuts: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    known: tuple[str, ...] = ()


@dataclass(frozen=True)
class PairProfile:
    """The rank correlation of two numeric columns."""

    first: str
    second: str
    importance: float
    correlation: Correlation


@dataclass(frozen=True)
class Profile:
    """A reference: its columns, the scores a model gave it, its correlations."""

    rows: int
    blocks: int
    columns: tuple[ColumnProfile, ...]
    score: ColumnProfile | None
    pairs: tuple[PairProfile, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Profile:
        score = data["score"]
        return cls(
            rows=data["rows"],
            blocks=data["blocks"],
            columns=tuple(_column_from(column) for column in data["columns"]),
            score=None if score is None else _column_from(score),
            pairs=tuple(_pair_from(pair) for pair in data["pairs"]),
        )


@dataclass(frozen=True)
class Unseen:
    """Scores of rows that the model was not trained on, and the local times of these rows."""

    scores: np.ndarray
    times: pd.Series


def profile(
    features: pd.DataFrame,
    columns: Sequence[Column],
    *,
    times: pd.Series,
    importance: Mapping[str, float] | None = None,
    scores: np.ndarray | None = None,
    unseen: Unseen | None = None,
) -> Profile:
    """Describe the rows a model was trained on, and how much their weeks differ.

    `times` are the local times of the rows, by which they fall into weeks. `importance` says how
    much the model relies on a column, in any unit; without it all columns matter alike. `scores`
    are the model's of these rows: how they vary from week to week is natural. As a model is surer
    of rows it was trained on, where scores lie is taken from those of `unseen` rows. Timestamps are
    left out: time always moves on.

    Raises ValueError where the rows span too few days to learn what is natural.
    """
    groups = Groups.of(blocks(times))
    weights = _normalised(importance, [c.name for c in columns if c.dtype != "timestamp"])
    described = tuple(
        _column(features[c.name], _kind(c), c.name, weights[c.name], groups)
        for c in columns
        if c.name in weights
    )
    score = None
    if scores is not None:
        score = _column(pd.Series(scores, dtype="float64"), "numeric", SCORE, 1.0, groups)
        score = score if unseen is None else _recentred(score, unseen)
    return Profile(
        len(features), groups.count, described, score, _pairs(features, described, groups)
    )


def blocks(times: pd.Series) -> pd.Series:
    """The block that each of some local times belongs to: its week, named by its Monday.

    Where there are fewer than MIN_BLOCKS whole weeks, blocks are days: they differ more than weeks
    do, so drift is then found later rather than falsely.
    """
    weeks = week_starts(times)
    enough = whole(weeks.value_counts().to_numpy()).sum() >= MIN_BLOCKS
    return weeks if enough else _days(times)


def week_starts(times: pd.Series) -> pd.Series:
    days = _days(times)
    return days - pd.to_timedelta(days.dt.weekday, unit="D")


def _days(times: pd.Series) -> pd.Series:
    return times.dt.tz_localize(None).dt.normalize()


def as_numbers(values: pd.Series) -> np.ndarray:
    """A column as float64, with NaN for what is missing, infinite or no number."""
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype="float64", na_value=np.nan)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def as_matrix(frame: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Columns of a frame as numbers, side by side: rows × names."""
    numbers = np.empty((len(frame), len(names)))
    for index, name in enumerate(names):
        numbers[:, index] = as_numbers(frame[name])
    return numbers


def rank_correlations(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spearman's correlations of columns (NaN where one does not vary), and rows with both values.

    Ranks are taken once a column, so that a few missing values cost no second pass.
    """
    ranks = pd.DataFrame(numbers).rank().to_numpy()
    present = ~np.isnan(ranks)
    # a column without values has no mean to subtract
    means = np.where(present, ranks, 0.0).sum(axis=0) / np.maximum(present.sum(axis=0), 1)
    centred = np.where(present, ranks - means, 0.0)
    both = present.astype("float64").T @ present
    squares = np.square(centred).T @ present
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (centred.T @ centred) / np.sqrt(squares * squares.T)
    return r, both


@dataclass(frozen=True)
class Groups:
    """The block of each row, as a number; -1 for rows of fragments."""

    codes: np.ndarray
    count: int

    @classmethod
    def of(cls, labels: pd.Series) -> Groups:
        codes, names = pd.factorize(labels, sort=True)
        keep = whole(np.bincount(codes, minlength=len(names)))
        if keep.sum() < MIN_BLOCKS:
            raise ValueError(
                f"a drift profile needs {MIN_BLOCKS} weeks or days to learn what is natural, there"
                f" are {keep.sum()}: train on a longer window"
            )
        numbers = np.where(keep, np.cumsum(keep) - 1, -1)
        return cls(numbers[codes], int(keep.sum()))

    @classmethod
    def one(cls, rows: int) -> Groups:
        """All rows in one block."""
        return cls(np.zeros(rows, dtype=int), 1)

    def rows(self, mask: np.ndarray) -> np.ndarray:
        """How many rows of each block the mask holds."""
        return np.bincount(self.codes[mask & (self.codes >= 0)], minlength=self.count)

    def hits(self, events: np.ndarray, size: int) -> np.ndarray:
        """Counts (blocks × size) of the event numbers of rows; -1 is none."""
        mask = (events >= 0) & (self.codes >= 0)
        cells = self.codes[mask] * size + events[mask]
        return np.bincount(cells, minlength=self.count * size).reshape(self.count, size)


def whole(rows: np.ndarray) -> np.ndarray:
    """Which blocks are no fragments, given the rows of each."""
    return np.asarray(rows >= FRAGMENT * np.median(rows))


def _kind(column: Column) -> Kind:
    return "numeric" if column.dtype in ("int", "float") else "category"


def _normalised(importance: Mapping[str, float] | None, names: Sequence[str]) -> dict[str, float]:
    """Importances that are not negative and sum to one."""
    given = {name: max((importance or {}).get(name, 0.0), 0.0) for name in names}
    total = sum(given.values())
    return {name: value / total if total else 1 / len(names) for name, value in given.items()}


def _column(
    values: pd.Series, kind: Kind, name: str, importance: float, groups: Groups
) -> ColumnProfile:
    numbers = as_numbers(values) if kind == "numeric" else None
    present = values.notna().to_numpy() if numbers is None else ~np.isnan(numbers)
    everything = np.ones(len(values), dtype=bool)
    missing = Rates.observe(groups.rows(~present)[:, None], groups.rows(everything))
    per_block = groups.rows(present)
    described = ColumnProfile(name, kind, importance, 0, missing)
    if (per_block > 0).sum() < MIN_BLOCKS:
        return described  # too seldom there to know what is natural but its absence
    if numbers is not None:
        return _numeric(described, numbers, groups, per_block)
    return _category(described, values, groups, per_block)


def _numeric(
    column: ColumnProfile, numbers: np.ndarray, groups: Groups, rows: np.ndarray
) -> ColumnProfile:
    present = np.sort(numbers[~np.isnan(numbers)])
    distinct, counts = np.unique(present, return_counts=True)
    cuts = distinct if len(distinct) <= DISTINCT else np.unique(np.quantile(present, CUTS))
    mode = float(distinct[counts.argmax()])
    described = replace(column, distinct=len(distinct), mode=mode, cuts=tuple(cuts.tolist()))
    return _with_events(described, numeric_hits(described, numbers, groups), rows)


def numeric_hits(column: ColumnProfile, numbers: np.ndarray, groups: Groups) -> np.ndarray:
    """How often each event of a numeric column holds in each block: blocks × events."""
    cuts = np.array(column.cuts)
    first = np.where(np.isnan(numbers), -1, np.searchsorted(cuts, numbers, side="left"))
    below = groups.hits(first, len(cuts) + 1)[:, :-1].cumsum(axis=1)
    return np.column_stack([below, groups.rows(numbers == column.mode)])


def _category(
    column: ColumnProfile, values: pd.Series, groups: Groups, rows: np.ndarray
) -> ColumnProfile:
    codes, names = pd.factorize(values.astype(object))
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    order = np.argsort(-counts, kind="stable")
    known = order[:KNOWN]
    watched = known[counts[known] >= max(RARE * counts.sum(), FEW)][:CATEGORIES]
    hits = groups.hits(codes, len(names))
    # What a week has and no other week does would have been unknown in that week.
    own = (hits > 0).sum(axis=0) == 1
    own[order[KNOWN:]] = True
    unknown = hits[:, own].sum(axis=1)
    unwatched = rows - hits[:, watched].sum(axis=1)
    columns = [hits[:, watched], unknown, unwatched, hits[:, order[0]]]
    text = [str(name) for name in names]
    described = replace(
        column,
        distinct=len(names),
        mode=text[order[0]],
        categories=tuple(text[code] for code in watched),
        known=tuple(text[code] for code in known),
    )
    return _with_events(described, np.column_stack(columns), rows)


def _with_events(column: ColumnProfile, hits: np.ndarray, rows: np.ndarray) -> ColumnProfile:
    filled = rows > 0
    return replace(column, events=Rates.observe(hits[filled], rows[filled]))


def _recentred(score: ColumnProfile, unseen: Unseen) -> ColumnProfile:
    """The profile of a score around that of unseen rows."""
    assert score.events is not None
    weeks = whole(week_starts(unseen.times).value_counts().to_numpy()).sum()
    hits = numeric_hits(score, unseen.scores, Groups.one(len(unseen.scores)))[0]
    return replace(score, events=score.events.recentred(hits, len(unseen.scores), int(weeks)))


def _pairs(
    features: pd.DataFrame, columns: Sequence[ColumnProfile], groups: Groups
) -> tuple[PairProfile, ...]:
    ranked = [c for c in columns if c.kind == "numeric" and c.events and c.distinct > 2]
    ranked = [c for c in ranked if c.events and c.events.share[-1] <= LUMPED]
    chosen = sorted(ranked, key=lambda c: (-c.importance, c.name))[:CORRELATED]
    numbers = as_matrix(features, [c.name for c in chosen])
    pooled, _ = rank_correlations(numbers)
    weekly = [rank_correlations(numbers[groups.codes == block]) for block in range(groups.count)]
    return tuple(
        PairProfile(
            chosen[i].name,
            chosen[j].name,
            min(chosen[i].importance, chosen[j].importance),
            Correlation.observe(found, float(pooled[i, j])),
        )
        for i, j in combinations(range(len(chosen)), 2)
        if len(found := _varying(weekly, i, j)) >= MIN_BLOCKS
    )


def _varying(
    weekly: Sequence[tuple[np.ndarray, np.ndarray]], i: int, j: int
) -> list[tuple[float, int]]:
    """(correlation, rows) of the blocks in which both columns vary."""
    return [(float(r[i, j]), int(n[i, j])) for r, n in weekly if np.isfinite(r[i, j])]


def _rates_from(data: Mapping[str, Any]) -> Rates:
    return Rates(**{**data, "share": tuple(data["share"]), "natural": tuple(data["natural"])})


def _column_from(data: Mapping[str, Any]) -> ColumnProfile:
    events = data["events"]
    tuples = {name: tuple(data[name]) for name in ("cuts", "categories", "known")}
    rates = {
        "missing": _rates_from(data["missing"]),
        "events": None if events is None else _rates_from(events),
    }
    return ColumnProfile(**{**data, **tuples, **rates})


def _pair_from(data: Mapping[str, Any]) -> PairProfile:
    return PairProfile(**{**data, "correlation": Correlation(**data["correlation"])})
