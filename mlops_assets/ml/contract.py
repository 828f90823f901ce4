"""What a table promises: its columns, and what happens to rows that break the promise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import lazy_loader as lazy

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy.load("pandas")

DType = Literal["int", "float", "bool", "str", "timestamp"]

PANDAS_DTYPES: dict[str, str] = {
    "int": "Int64",
    "float": "float64",
    "bool": "boolean",
    "str": "object",
    "timestamp": "datetime64[us, UTC]",
}
REASON = "reason"
SAMPLE_SIZE = 5


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table: what it means and which values it may take.

    `known_at` names the timestamp column that says when this value becomes known (an arrival
    delay is known when the flight has landed); None means it is known beforehand, as a schedule
    is. Bounds are inclusive and in `unit`.
    """

    name: str
    dtype: DType
    description: str
    unit: str | None = None
    nullable: bool = False
    min: float | None = None
    max: float | None = None
    allowed: tuple[str, ...] | None = None
    known_at: str | None = None

    def __post_init__(self) -> None:
        if self.dtype not in PANDAS_DTYPES:
            raise ValueError(
                f"column {self.name!r}: dtype {self.dtype!r} is none of {', '.join(PANDAS_DTYPES)}"
            )
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"column {self.name!r}: min {self.min} exceeds max {self.max}")


@dataclass(frozen=True)
class Violation:
    """A broken promise: which column, what was expected, how many rows, and some of the values."""

    column: str
    expected: str
    count: int
    sample: tuple[str, ...]

    def __str__(self) -> str:
        sample = f", e.g. {', '.join(self.sample)}" if self.sample else ""
        return f"{self.column}: {self.expected} ({self.count} rows{sample})"


@dataclass(frozen=True)
class Validation:
    """Rows that keep the contract, typed, and rows that do not, as they came, with a `reason`."""

    good: pd.DataFrame
    bad: pd.DataFrame


def validate(frame: pd.DataFrame, columns: Sequence[Column], key: Sequence[str] = ()) -> Validation:
    """Split `frame` into rows that keep the contract and rows that break it; both keep its index.

    A missing column makes every row bad. Columns that the contract does not name are left out;
    types are converted where that loses nothing.
    """
    missing = [column.name for column in columns if column.name not in frame.columns]
    if missing:
        reason = "; ".join(f"{name}: the column is missing" for name in missing)
        return Validation(frame.iloc[:0], frame.assign(**{REASON: reason}))
    rows = frame[[column.name for column in columns]]
    typed = pd.DataFrame({column.name: _coerce(rows[column.name], column) for column in columns})
    breaches = list(_breaches(rows, typed, columns, key))
    broken = pd.Series(False, index=rows.index)
    for _, mask in breaches:
        broken |= mask
    return Validation(typed[~broken], rows[broken].assign(**{REASON: _reasons(breaches, broken)}))


def violations(bad: pd.DataFrame) -> list[Violation]:
    """What the bad rows of a validation broke, promise by promise."""
    phrases = bad[REASON].str.split("; ").explode()
    return [
        _violation(str(phrase), bad.loc[rows.index]) for phrase, rows in phrases.groupby(phrases)
    ]


def _violation(phrase: str, rows: pd.DataFrame) -> Violation:
    column, expected = phrase.split(": ", 1)
    names = [name for name in column.split(", ") if name in rows.columns]
    values = rows[names].astype(str).agg("/".join, axis=1) if names else pd.Series(dtype=str)
    return Violation(column, expected, len(rows), tuple(values.drop_duplicates()[:SAMPLE_SIZE]))


def as_of(
    frame: pd.DataFrame,
    columns: Sequence[Column],
    at: pd.Timestamp,
    recorded_at: str | None = None,
) -> pd.DataFrame:
    """The frame as it stood at a moment: values not yet known become missing.

    `recorded_at` names the column that says when a row comes into existence; rows recorded after
    `at` are dropped.
    """
    if recorded_at is not None:
        frame = frame[frame[recorded_at] <= at]
    known = {
        column.name: frame[column.known_at] <= at
        for column in columns
        if column.known_at is not None and column.name in frame.columns
    }
    return frame.assign(**{name: frame[name].where(mask) for name, mask in known.items()})


def _coerce(values: pd.Series, column: Column) -> pd.Series:
    """The values in the column's type; what cannot be converted becomes missing."""
    if column.dtype == "timestamp":
        times = pd.to_datetime(values, utc=True, errors="coerce", format="ISO8601")
        return times.astype(PANDAS_DTYPES["timestamp"])
    if column.dtype == "str":
        return values.astype(str).astype(object).mask(values.isna(), None)
    if column.dtype == "bool":
        known = {True: True, False: False, "true": True, "false": False}
        return values.map(known).astype("boolean")
    numbers = pd.to_numeric(values, errors="coerce").astype("float64")
    if column.dtype == "float":
        return numbers
    return numbers.where(numbers.mod(1) == 0).astype("Int64")


def _breaches(
    rows: pd.DataFrame, typed: pd.DataFrame, columns: Sequence[Column], key: Sequence[str]
) -> Iterator[tuple[str, pd.Series]]:
    """Each broken promise, as a phrase, and the rows that break it."""
    for column in columns:
        for expected, mask in _column_breaches(rows[column.name], typed[column.name], column):
            if mask.any():
                yield f"{column.name}: {expected}", mask
    if key:
        names = list(key)
        duplicated = typed.duplicated(names, keep=False) & typed[names].notna().all(axis=1)
        if duplicated.any():
            yield f"{', '.join(key)}: expected unique", duplicated


def _column_breaches(
    raw: pd.Series, typed: pd.Series, column: Column
) -> Iterator[tuple[str, pd.Series]]:
    yield f"expected type {column.dtype}", raw.notna() & typed.isna()
    if not column.nullable:
        yield "expected a value", raw.isna()
    if column.min is not None:
        yield f"expected at least {column.min:g}", (typed < column.min).fillna(False).astype(bool)
    if column.max is not None:
        yield f"expected at most {column.max:g}", (typed > column.max).fillna(False).astype(bool)
    if column.allowed is not None:
        yield "expected a known value", typed.notna() & ~typed.isin(column.allowed)


def _reasons(breaches: Sequence[tuple[str, pd.Series]], broken: pd.Series) -> pd.Series:
    """Why each broken row broke, one phrase a breach."""
    reasons = pd.Series("", index=broken.index[broken])
    for phrase, mask in breaches:
        hit = mask.index[mask]
        reasons[hit] = reasons[hit] + "; " + phrase
    return reasons.str.removeprefix("; ")
