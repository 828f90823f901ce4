"""How a model behaves on rows it has not seen: where it is right, for whom, and because of what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from mlops_assets.ml.bootstrap import Bootstrap, Interval, bootstrap
from mlops_assets.ml.metrics import METRICS, UndefinedMetricError
from mlops_assets.ml.models import score as predict

MISSING = "(missing)"
MAX_GROUPS = 30
"""A slice with more distinct numbers than this is cut at its quantiles."""
GROUP_RESAMPLES = 500
"""Enough to draw an interval; gates use more."""
BINS = 10
IMPORTANCE_ROWS = 3_000
ERROR_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def group_labels(values: pd.Series) -> pd.Series:
    """The group of each row, an ordered categorical: its value, or the fifth a number lies in."""
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > MAX_GROUPS:
        codes, names = _fifths(values.to_numpy("float64", na_value=np.nan))
    else:
        codes, groups = pd.factorize(values, sort=True)
        names = [str(int(g)) if isinstance(g, float) and g.is_integer() else str(g) for g in groups]
    labels = pd.Categorical.from_codes(
        np.where(codes < 0, len(names), codes), [*names, MISSING], ordered=True
    )
    return pd.Series(labels, index=values.index).cat.remove_unused_categories()


def by_group(
    metrics: Sequence[str],
    truth: np.ndarray,
    scores: Mapping[str, np.ndarray],
    labels: pd.Series,
    *,
    blocks: np.ndarray | None = None,
    min_rows: int = 50,
    resamples: int = GROUP_RESAMPLES,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """For each group of at least `min_rows` rows: rows, mean of the truth, and `metrics`.

    `labels` is an ordered categorical (`group_labels`), a group a row; `blocks` as in `bootstrap`.
    A metric is None where it is undefined, as an area under the ROC curve is for one class.
    """
    found = []
    for group in labels.cat.categories:
        rows = np.flatnonzero(labels == group)
        if len(rows) < min_rows:
            continue
        defined = [METRICS[name] for name in metrics if _defined(name, truth[rows])]
        inside = {name: score[rows] for name, score in scores.items()}
        measured = bootstrap(
            defined,
            truth[rows],
            inside,
            blocks=None if blocks is None else blocks[rows],
            resamples=resamples,
            seed=seed,
        )
        found.append(
            {
                "group": group,
                "rows": len(rows),
                "mean_label": float(truth[rows].mean()),
                "metrics": {
                    name: summary(measured[name]) if name in measured else None for name in metrics
                },
            }
        )
    return found


def summary(found: Bootstrap) -> dict[str, float | None]:
    """A metric of each model with its interval, and the candidate's gain over the others.

    {"candidate", "candidate_low", "candidate_high", "dummy", …, "gain_over_dummy",
    "gain_over_dummy_low", …}; None where an end is infinite.
    """
    numbers: dict[str, float | None] = {}
    for model in found.values:
        numbers |= _named(model, found.interval(model))
        if model != "candidate":
            numbers |= _named(f"gain_over_{model}", found.gain("candidate", model))
    return numbers


def calibration(truth: np.ndarray, score: np.ndarray, bins: int = BINS) -> list[dict[str, float]]:
    """Predicted and observed share of positives in bins of equally many rows.

    The observed share has E. B. Wilson's 95 % interval (1927).
    """
    rows = pd.DataFrame({"truth": truth, "score": score})
    groups = rows.groupby(_quantile_bins(score, bins))
    curve = groups.agg(
        predicted=("score", "mean"), observed=("truth", "mean"), rows=("truth", "size")
    )
    low, high = _wilson(curve["observed"].to_numpy(), curve["rows"].to_numpy())
    return _records(curve.assign(low=low, high=high))


def calibration_error(curve: Sequence[Mapping[str, float]]) -> float:
    """Mean distance of observed from predicted, weighted by rows (expected calibration error)."""
    rows = sum(point["rows"] for point in curve)
    return sum(p["rows"] * abs(p["predicted"] - p["observed"]) for p in curve) / rows


def roc(truth: np.ndarray, score: np.ndarray, points: int = 101) -> dict[str, list[float]]:
    """The ROC curve at equally spaced false positive rates."""
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(truth, score)
    grid = np.linspace(0, 1, points)
    return {
        "false_positive_rate": grid.round(4).tolist(),
        "true_positive_rate": np.interp(grid, false, true).round(4).tolist(),
    }


def confusion(truth: np.ndarray, score: np.ndarray, threshold: float) -> dict[str, float]:
    """Counts and rates where rows scored at `threshold` or above are called positive."""
    positive, called = truth > 0.5, score >= threshold
    counts = {
        "true_positive": int((positive & called).sum()),
        "false_positive": int((~positive & called).sum()),
        "false_negative": int((positive & ~called).sum()),
        "true_negative": int((~positive & ~called).sum()),
    }
    recall = counts["true_positive"] / max(1, int(positive.sum()))
    specificity = counts["true_negative"] / max(1, int((~positive).sum()))
    return {
        "threshold": float(threshold),
        **counts,
        "precision": counts["true_positive"] / max(1, int(called.sum())),
        "recall": recall,
        "specificity": specificity,
        "balanced_accuracy": (recall + specificity) / 2,
    }


def residuals(truth: np.ndarray, score: np.ndarray, bins: int = BINS) -> list[dict[str, float]]:
    """Error (truth minus prediction) in bins of equally many rows by predicted value.

    `median` and, around it, 90 % of the errors: `low` and `high`.
    """
    rows = pd.DataFrame({"error": truth - score, "score": score})
    groups = rows.groupby(_quantile_bins(score, bins))
    error = groups["error"]
    return _records(
        pd.DataFrame(
            {
                "predicted": groups["score"].mean(),
                "median": error.median(),
                "low": error.quantile(0.05),
                "high": error.quantile(0.95),
                "rows": groups.size(),
            }
        )
    )


def error_quantiles(truth: np.ndarray, score: np.ndarray) -> dict[str, float]:
    """Quantiles of the error (truth minus prediction), by their level."""
    found = np.quantile(truth - score, ERROR_QUANTILES)
    return {f"{level:g}": float(value) for level, value in zip(ERROR_QUANTILES, found, strict=True)}


def permutation_importance(
    model: Any,
    features: pd.DataFrame,
    truth: np.ndarray,
    metric: str,
    *,
    seed: int = 0,
    rows: int = IMPORTANCE_ROWS,
    repeats: int = 3,
) -> dict[str, float]:
    """What each feature means to a model: the loss in `metric` when its values are shuffled.

    Mean over `repeats`, on at most `rows` rows; the most important first. Noise around zero is
    what a feature without meaning gets, so it may be negative.
    """
    from sklearn.inspection import permutation_importance as shuffled

    measure = METRICS[metric]
    picked = np.random.default_rng(seed).permutation(len(features))[:rows]
    found = shuffled(
        model,
        features.iloc[picked],
        np.asarray(truth)[picked],
        scoring=lambda m, x, y: measure.gain(measure(y, predict(m, x)), 0.0),
        n_repeats=repeats,
        random_state=seed,
    ).importances_mean
    order = np.argsort(-found, kind="stable")
    return {str(features.columns[n]): float(found[n]) for n in order}


def _quantile_bins(values: np.ndarray, bins: int) -> np.ndarray:
    """The number, from 0 on, of each value's bin; equal values share one, so there may be fewer."""
    inner = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
    return np.asarray(np.searchsorted(inner, values, side="left"))


def _fifths(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The fifth of each value, -1 where it is missing, and a name for each fifth."""
    known = np.isfinite(values)
    codes = np.full(values.size, -1)
    _, codes[known] = np.unique(_quantile_bins(values[known], 5), return_inverse=True)
    ends = [values[codes == code] for code in range(codes.max() + 1)]
    return codes, [f"{n}: {v.min():.3g} to {v.max():.3g}" for n, v in enumerate(ends, start=1)]


def _defined(name: str, truth: np.ndarray) -> bool:
    """Whether a metric can judge these rows: whether it can judge the truth itself."""
    try:
        METRICS[name](truth, truth)
    except UndefinedMetricError:
        return False
    return True


def _named(name: str, found: Interval) -> dict[str, float | None]:
    ends = {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    return {end: value if np.isfinite(value) else None for end, value in ends.items()}


def _wilson(share: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    z = norm.ppf(0.975)
    centre = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z * np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2)) / (1 + z**2 / rows)
    return centre - half, centre + half


def _records(frame: pd.DataFrame) -> list[dict[str, float]]:
    """Rows as plain numbers."""
    return [
        {str(name): float(value) for name, value in row.items()}
        for row in frame.astype("float64").to_dict("records")
    ]
