"""A simulated stream of rows whose weeks differ naturally: what drift checks are calibrated on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mlops_assets.ml import drift
from mlops_assets.use_cases import Column

MONDAY = pd.Timestamp("2024-01-01")
NUMBERS = [f"x{n}" for n in range(8)]
COLUMNS = (
    *(Column(name=name, dtype="float", description="A number.") for name in NUMBERS),
    Column(name="hour", dtype="int", description="A whole number of few values."),
    Column(name="rain", dtype="float", description="A number that is mostly zero."),
    Column(name="carrier", dtype="str", description="A category of a dozen values."),
    Column(name="dest", dtype="str", description="A category of a hundred values, most rare."),
    Column(name="weekend", dtype="bool", description="True or false."),
)
REFERENCE_WEEKS = 11


def stream(
    rng: np.random.Generator, weeks: int, rows: int, natural: float = 0.3, memory: float = 0.5
) -> pd.DataFrame:
    """Weeks of `rows` rows with a weekly cycle, a model's `score`, their `time` and `week`.

    Each week moves each column by `natural` standard deviations, and resembles the week before it
    as much as `memory` says (the coefficient of an autoregression).
    """
    effects = _effects(rng, weeks, len(NUMBERS) + 3, memory) * natural
    week = np.repeat(np.arange(weeks), rows)
    n, e = len(week), effects[week]
    day = rng.integers(0, 7, n)
    x = rng.normal(size=(n, len(NUMBERS)))
    x[:, 1] = 0.8 * x[:, 0] + 0.6 * x[:, 1]
    x += e[:, : len(NUMBERS)] + np.sin(2 * np.pi * day / 7)[:, None] * (np.arange(x.shape[1]) % 3)
    frame = pd.DataFrame(x, columns=NUMBERS)
    frame["x3"] = np.exp(frame["x3"])
    frame.loc[rng.random(n) < 0.05 * np.exp(e[:, -1]), "x4"] = np.nan
    frame["hour"] = np.clip(np.round(12 + 4 * (rng.normal(size=n) + e[:, -2])), 0, 23)
    frame["rain"] = np.where(rng.random(n) < 0.9, 0.0, rng.exponential(size=n))
    shares = np.exp(-np.arange(12) / 3 + e[:, -3, None] * np.linspace(-0.5, 0.5, 12))
    frame["carrier"] = _drawn(rng, shares, "ABCDEFGHIJKL")
    frame["dest"] = [f"D{rank}" for rank in np.minimum(rng.zipf(1.5, n), 100)]
    frame["weekend"] = day >= 5
    frame["score"] = 1 / (1 + np.exp(1 - x[:, 0]))
    frame["time"] = MONDAY + pd.to_timedelta(7 * week + day, unit="D")
    return frame.assign(week=week)


def profile_of(reference: pd.DataFrame) -> drift.Profile:
    """The profile of a reference whose last quarter the model has not seen."""
    unseen = reference.iloc[len(reference) * 3 // 4 :]
    return drift.profile(
        reference,
        COLUMNS,
        times=reference["time"],
        scores=reference["score"].to_numpy(),
        unseen=drift.Unseen(unseen["score"].to_numpy(), unseen["time"]),
    )


def compare(profile: drift.Profile, window: pd.DataFrame, alpha: float = 0.01) -> drift.Drift:
    return drift.compare(profile, window, window["score"].to_numpy(), alpha)


def _effects(rng: np.random.Generator, weeks: int, columns: int, memory: float) -> np.ndarray:
    warm_up = 20
    effects = np.zeros((warm_up + weeks, columns))
    for week in range(1, len(effects)):
        fresh = rng.normal(size=columns) * np.sqrt(1 - memory**2)
        effects[week] = memory * effects[week - 1] + fresh
    return effects[warm_up:]


def _drawn(rng: np.random.Generator, shares: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """A name for each row, by its row of unnormalised shares."""
    limits = shares.cumsum(axis=1) / shares.sum(axis=1, keepdims=True)
    return np.array(list(names))[(rng.random(len(shares))[:, None] > limits).sum(axis=1)]
