"""How often the drift check fails: on windows in which nothing changed, and on changed ones.

Writes docs/drift-calibration.md. Run it from the repository root:

    python -m benchmarks.drift_calibration [--references 100] [--workers 2]
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from mlops_assets_tests.stream import REFERENCE_WEEKS, compare, profile_of, stream

PAGE = Path(__file__).parent.parent / "docs" / "drift-calibration.md"
SIZES = (50, 500, 5_000, 50_000)
LATER = 4
PROCESSES = {
    "every week alike": (0.0, 0.0),
    "weeks differ by 0.3 σ": (0.3, 0.0),
    "by 0.3 σ, each like the one before (ρ = 0.5)": (0.3, 0.5),
    "by 1 σ, ρ = 0.5": (1.0, 0.5),
}
Change = Callable[[pd.DataFrame], pd.DataFrame]
CHANGES: dict[str, Change] = {
    "number shifted by 0.5 σ": lambda w: w.assign(x0=w["x0"] + 0.5),
    "number shifted by 1 σ": lambda w: w.assign(x0=w["x0"] + 1.0),
    "number shifted by 2 σ": lambda w: w.assign(x0=w["x0"] + 2.0),
    "unit changed (1.8 x + 32)": lambda w: w.assign(x0=w["x0"] * 1.8 + 32),
    "sensor stuck at 0": lambda w: w.assign(x0=0.0),
    "column empty": lambda w: w.assign(x0=np.nan),
    "a fifth of the values missing": lambda w: w.assign(x0=w["x0"].where(_but(w, 5))),
    "new category, 5 %": lambda w: w.assign(carrier=w["carrier"].where(_but(w, 20), "Z")),
    "new category, 20 %": lambda w: w.assign(carrier=w["carrier"].where(_but(w, 5), "Z")),
    "category vanished (30 %)": lambda w: w[w["carrier"] != "A"],
    "category vanished (8 %)": lambda w: w[w["carrier"] != "E"],
    "correlation of 0.8 flipped": lambda w: w.assign(x1=-w["x1"]),
    "scores squared": lambda w: w.assign(score=w["score"] ** 2),
}


def _but(window: pd.DataFrame, n: int) -> np.ndarray:
    """All rows but every n-th."""
    return np.arange(len(window)) % n > 0


def random_rows(rows: int, seed: int) -> Counter[str]:
    """Windows of random rows of their own reference."""
    reference = stream(np.random.default_rng(seed), REFERENCE_WEEKS, 7_000)
    profile = profile_of(reference)
    windows = (reference.sample(rows, replace=True, random_state=n) for n in range(10))
    return Counter(str(compare(profile, window).failed) for window in windows)


def later_weeks(rows: int, natural: float, memory: float, seed: int) -> Counter[str]:
    """Whole weeks that follow their reference, from the same process."""
    rng = np.random.default_rng(seed)
    weeks = stream(rng, REFERENCE_WEEKS + LATER, rows, natural, memory)
    profile = profile_of(weeks[weeks["week"] < REFERENCE_WEEKS])
    later = (weeks[weeks["week"] == n] for n in range(REFERENCE_WEEKS, REFERENCE_WEEKS + LATER))
    return Counter(str(compare(profile, week).failed) for week in later)


def changed_weeks(rows: int, seed: int) -> Counter[str]:
    """How often each change of the next week is found."""
    rng = np.random.default_rng(seed)
    weeks = stream(rng, REFERENCE_WEEKS + 1, max(rows, 500), 0.1, 0.5)
    profile = profile_of(weeks[weeks["week"] < REFERENCE_WEEKS])
    week = weeks[weeks["week"] == REFERENCE_WEEKS].head(rows).reset_index(drop=True)
    return Counter(name for name, f in CHANGES.items() if compare(profile, f(week)).failed)


def tables(pool: ProcessPoolExecutor, references: int) -> Iterator[str]:
    yield "| windows | rows | windows drawn | alarms | rate | 95 % interval |"
    yield "|---|---|---|---|---|---|"
    for rows in SIZES:
        yield _rate(
            "random rows of the reference", rows, pool, partial(random_rows, rows), references
        )
    for name, (natural, memory) in PROCESSES.items():
        for rows in SIZES[:3]:
            task = partial(later_weeks, rows, natural, memory)
            yield _rate(f"later weeks, {name}", rows, pool, task, references)
    yield ""
    yield "| change | " + " | ".join(f"{rows:,} rows" for rows in SIZES[:3]) + " |"
    yield "|---|" + "---|" * len(SIZES[:3])
    runs = max(references // 5, 1)
    found = [sum(pool.map(partial(changed_weeks, n), range(runs)), Counter()) for n in SIZES[:3]]
    for name in CHANGES:
        yield f"| {name} | " + " | ".join(f"{count[name] / runs:.0%}" for count in found) + " |"


def _rate(
    name: str,
    rows: int,
    pool: ProcessPoolExecutor,
    task: Callable[[int], Counter[str]],
    references: int,
) -> str:
    count = sum(pool.map(task, range(references)), Counter())
    alarms, windows = count["True"], count.total()
    low, high = stats.binomtest(alarms, windows).proportion_ci()
    interval = f"{low:.2%} to {high:.2%}"
    return f"| {name} | {rows:,} | {windows:,} | {alarms} | {alarms / windows:.2%} | {interval} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--references", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with ProcessPoolExecutor(options.workers) as pool:
        lines = []
        for line in tables(pool, options.references):
            print(line, flush=True)
            lines.append(line)
    before, _, _ = PAGE.read_text().partition("<!-- measured -->")
    PAGE.write_text(f"{before}<!-- measured -->\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
