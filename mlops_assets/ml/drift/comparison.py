"""Whether a window differs from the reference by more than chance, nature and what matters allow.

Each column, the scores and each watched correlation get one p-value: that of their most telling
event, corrected for how many were looked at. Holm's method over all of them keeps the probability
that *anything* is called drifted in a window where nothing changed at `alpha`. What is called
drifted makes the check fail where it is worth an alarm:

- the column is missing, empty or constant (and the reference's is not): always;
- the column matters to the model (its importance is at least MATTERS times an equal share), or it
  is the score: Cohen's h is at least NOTABLE;
- any other column: h is at least LARGE;
- a correlation between two columns that matter: it changed by at least NOTABLE_CORRELATION.

The remaining drifted columns are reported, but do not fail the check.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from mlops_assets.ml.drift.profile import (
    RARE,
    ColumnProfile,
    Groups,
    PairProfile,
    Profile,
    Value,
    as_matrix,
    as_numbers,
    numeric_hits,
    rank_correlations,
)

NOTABLE = 0.1
LARGE = 0.5
NOTABLE_CORRELATION = 0.1
MATTERS = 0.25
EXAMPLES = 3
UNKNOWN = -3
"""Where the rate of unknown categories stands among a column's events."""

FindingKind = Literal["column", "score", "correlation"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one comparison found.

    `p_value` is adjusted for all comparisons of the check; `effect` is Cohen's h of the event that
    changed most surely, or the change of the correlation; `reference` and `current` are that
    event's shares, or the correlations.
    """

    name: str
    kind: FindingKind
    importance: float
    p_value: float
    effect: float
    reference: float
    current: float
    message: str
    broken: bool = False
    drifted: bool = False
    failed: bool = False


@dataclass(frozen=True)
class Drift:
    """The verdict on a window and the findings behind it, the most alarming first."""

    failed: bool
    alpha: float
    rows: int
    reference_rows: int
    findings: tuple[Finding, ...]

    @property
    def drifted(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.drifted]

    @property
    def failures(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.failed]

    @property
    def summary(self) -> str:
        """One sentence for people."""
        if not self.failed:
            return f"no alarming drift: {len(self.drifted)} of {len(self.findings)} differ"
        return "; ".join(finding.message for finding in self.failures)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    profile: Profile, current: pd.DataFrame, scores: np.ndarray | None = None, alpha: float = 0.01
) -> Drift:
    """Judge a window of rows, and the scores the model gave them, against a reference.

    `alpha` bounds the false alarms of the whole check. One pass a column: O(n), and O(n log n) for
    the few whose correlations are watched.
    """
    found = list(_compared(profile, current, scores))
    adjusted = _holm(np.array([finding.p_value for finding in found]))
    judged = [
        _judged(replace(finding, p_value=float(p)), alpha, len(profile.columns))
        for finding, p in zip(found, adjusted, strict=True)
    ]
    judged.sort(key=lambda f: (not f.failed, not f.drifted, f.p_value, -abs(f.effect), f.name))
    failed = any(finding.failed for finding in judged)
    return Drift(failed, alpha, len(current), profile.rows, tuple(judged))


def _compared(
    profile: Profile, current: pd.DataFrame, scores: np.ndarray | None
) -> Iterator[Finding]:
    for column in profile.columns:
        values = current[column.name] if column.name in current.columns else None
        yield _column(column, values, "column")
    if profile.score is not None and scores is not None:
        yield _column(profile.score, pd.Series(scores, dtype="float64"), "score")
    yield from _correlations(profile.pairs, current)


def _judged(finding: Finding, alpha: float, columns: int) -> Finding:
    drifted = finding.p_value <= alpha
    if finding.kind == "correlation":
        limit = NOTABLE_CORRELATION if _matters(finding, columns) else np.inf
    else:
        limit = NOTABLE if _matters(finding, columns) else LARGE
    failed = drifted and (finding.broken or abs(finding.effect) >= limit)
    return replace(finding, drifted=drifted, failed=failed)


def _matters(finding: Finding, columns: int) -> bool:
    return finding.importance * columns >= MATTERS


def _holm(p_values: np.ndarray) -> np.ndarray:
    """P-values adjusted so that the chance of any false one stays bounded (Holm, 1979)."""
    order = np.argsort(p_values)
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def _column(column: ColumnProfile, values: pd.Series | None, kind: FindingKind) -> Finding:
    if values is None:
        return _broken(column, kind, "the column is missing")
    numbers = as_numbers(values) if column.kind == "numeric" else None
    present = values[values.notna() if numbers is None else ~np.isnan(numbers)]
    if not len(values):
        return _broken(column, kind, "the column is empty")
    candidates = [_missing(column, kind, len(values) - len(present), len(values))]
    if column.events is not None and len(present):
        candidates.append(_events(column, kind, present, numbers))
    p_values = [min(len(candidates) * finding.p_value, 1.0) for finding in candidates]
    most_telling = int(np.argmin(p_values))
    return replace(candidates[most_telling], p_value=p_values[most_telling])


def _broken(column: ColumnProfile, kind: FindingKind, problem: str) -> Finding:
    return Finding(
        name=column.name,
        kind=kind,
        importance=column.importance,
        p_value=0.0,
        effect=float(np.pi),
        reference=1.0,
        current=0.0,
        message=f"{column.name}: {problem}",
        broken=True,
    )


def _missing(column: ColumnProfile, kind: FindingKind, count: int, rows: int) -> Finding:
    reference, current = column.missing.share[0], count / rows
    message = f"{current:.1%} of rows have no value, {reference:.1%} in the reference"
    if count == rows:
        message = "the column is empty"
    return Finding(
        name=column.name,
        kind=kind,
        importance=column.importance,
        p_value=float(column.missing.p_values(np.array([count]), rows)[0]),
        effect=float(column.missing.effects(np.array([count]), rows)[0]),
        reference=reference,
        current=current,
        message=f"{column.name}: {message}",
        broken=count == rows,
    )


@dataclass(frozen=True)
class _Counts:
    """How often each event of a column holds, and how it is called in a message."""

    hits: np.ndarray
    labels: list[str]
    constant: Value | None


def _events(
    column: ColumnProfile, kind: FindingKind, present: pd.Series, numbers: np.ndarray | None
) -> Finding:
    assert column.events is not None
    rows = len(present)
    counts = _category(column, present) if numbers is None else _numeric(column, numbers)
    constant = counts.constant is not None and column.distinct > 1
    if constant:  # as likely as it is that the most frequent value takes every row
        counts.hits[-1] = rows
    p_values = column.events.p_values(counts.hits, rows) * len(counts.hits)
    effects = column.events.effects(counts.hits, rows)
    if column.kind == "category" and effects[UNKNOWN] < 0:
        p_values[UNKNOWN] = 1.0  # fewer new categories than usual are no news
    event = len(counts.hits) - 1 if constant else int(np.lexsort((-np.abs(effects), p_values))[0])
    reference, current = column.events.share[event], counts.hits[event] / rows
    message = (
        f"{current:.1%} of values are {counts.labels[event]}, {reference:.1%} in the reference"
    )
    if constant:
        message = f"is constant ({counts.constant}), the reference has {column.distinct} values"
    elif current == 0 and counts.labels[event] in map(repr, column.categories):
        message = f"{counts.labels[event]} has vanished, {reference:.1%} in the reference"
    return Finding(
        name=column.name,
        kind=kind,
        importance=column.importance,
        p_value=float(min(p_values[event], 1.0)),
        effect=float(effects[event]),
        reference=reference,
        current=float(current),
        message=f"{column.name}: {message}",
        broken=constant,
    )


def _numeric(column: ColumnProfile, numbers: np.ndarray) -> _Counts:
    hits = numeric_hits(column, numbers, Groups.one(len(numbers)))[0]
    least = float(np.nanmin(numbers))
    constant = least if least == np.nanmax(numbers) else None
    labels = [f"at most {cut:.4g}" for cut in column.cuts] + [f"{column.mode:.4g}"]
    return _Counts(hits, labels, constant)


def _category(column: ColumnProfile, present: pd.Series) -> _Counts:
    counts = present.astype(object).value_counts()
    counts.index = counts.index.map(str)
    watched = counts.reindex(column.categories, fill_value=0).to_numpy()
    unknown = counts[~counts.index.isin(column.known)]
    unwatched = counts.sum() - watched.sum()
    constant = str(counts.index[0]) if len(counts) == 1 else None
    examples = ", ".join(repr(name) for name in unknown.index[:EXAMPLES])
    labels = [repr(name) for name in column.categories]
    labels += [f"new ({examples})" if examples else "new", "rarer", repr(column.mode)]
    hits = np.concatenate([watched, [unknown.sum(), unwatched, counts.get(column.mode, 0)]])
    return _Counts(hits, labels, constant)


def _correlations(pairs: tuple[PairProfile, ...], current: pd.DataFrame) -> Iterator[Finding]:
    names = sorted({name for pair in pairs for name in (pair.first, pair.second)})
    there = [name for name in names if name in current.columns]
    r, rows = rank_correlations(as_matrix(current, there))
    position = {name: index for index, name in enumerate(there)}
    for pair in pairs:
        if pair.first in position and pair.second in position:
            cell = position[pair.first], position[pair.second]
            # Where a column does not vary there is no correlation; its own finding says so.
            if np.isfinite(r[cell]):
                yield _correlation(pair, float(r[cell]), int(rows[cell]))


def _correlation(pair: PairProfile, r: float, rows: int) -> Finding:
    expected = pair.correlation.r
    name = f"{pair.first} ~ {pair.second}"
    return Finding(
        name=name,
        kind="correlation",
        importance=pair.importance,
        p_value=pair.correlation.p_value(r, rows),
        effect=r - expected,
        reference=expected,
        current=r,
        message=f"{name}: rank correlation {r:.2f}, {expected:.2f} in the reference",
    )


@dataclass(frozen=True)
class Bar:
    """A part of a column's values: its share in the reference and in the window."""

    label: str
    reference: float
    current: float


def distribution(column: ColumnProfile, values: pd.Series, most: int = 10) -> list[Bar]:
    """How the values of a column are distributed, for a picture; empty where there are none."""
    numbers = as_numbers(values) if column.kind == "numeric" else None
    present = values[values.notna() if numbers is None else ~np.isnan(numbers)]
    if column.events is None or present.empty:
        return []
    counts = _category(column, present) if numbers is None else _numeric(column, numbers)
    shares = np.array([column.events.share, counts.hits / len(present)])[:, :-1]
    if numbers is None:
        order = np.argsort(-shares.max(axis=0), kind="stable")[:most]
        bars = [Bar(counts.labels[n].strip("'"), *shares[:, n].tolist()) for n in order]
        return [bar for bar in bars if max(bar.reference, bar.current) >= RARE]
    parts = np.diff(shares, axis=1, prepend=0.0, append=1.0)
    edges = [f"{cut:.3g}" for cut in column.cuts]
    labels = [f"≤ {edges[0]}", *(f"– {edge}" for edge in edges[1:]), f"> {edges[-1]}"]
    return [Bar(label, *part) for label, part in zip(labels, parts.T.tolist(), strict=True)]
