"""Gate rules: what a candidate must prove, beyond noise, before it may be promoted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import lazy_loader as lazy

from mlops_assets.ml.bootstrap import (
    MIN_BLOCKS,
    RESAMPLES,
    Bootstrap,
    bootstrap,
    lower_bound,
    pooled_bounds,
)
from mlops_assets.ml.metrics import METRICS, Metric, UndefinedMetricError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
else:
    np = lazy.load("numpy")

Opponent = Literal["champion", "dummy", "absolute"]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One promise of a gate, judged on held-out rows; each rule becomes one asset check.

    Against "champion" or "dummy", `threshold` is the least gain, counted so that more is better,
    that the lower end of the one-sided paired-bootstrap interval must exceed: 0 demands an
    improvement, a negative number forgives a loss of that size (non-inferiority). Against
    "absolute", `threshold` is the worst value of the metric that the interval may reach.
    With `slice` the rule holds in every group of that slice with at least `min_rows` rows; the
    groups' bounds are pooled (`bootstrap.pooled_bounds`), so that the noise of many small groups
    does not refuse a model that is good in all of them.
    """

    metric: str
    against: Opponent
    threshold: float = 0.0
    slice: str | None = None
    min_rows: int = 200
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"metric: {self.metric!r} is none of {', '.join(sorted(METRICS))}")
        if self.against not in ("champion", "dummy", "absolute"):
            raise ValueError(f"against: {self.against!r} is none of champion, dummy, absolute")
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"confidence: {self.confidence} is not in [0.5, 1)")

    @property
    def name(self) -> str:
        """The rule as an asset check's name, e.g. `gate_log_loss_vs_champion_by_carrier`."""
        name = f"gate_{self.metric}_vs_{self.against}"
        return f"{name}_by_{self.slice}" if self.slice else name


@dataclass(frozen=True, kw_only=True)
class RuleResult:
    """What a rule found. Of a sliced rule the numbers are those of the worst group.

    `value` and `bound` are gains against an opponent, values of the metric against "absolute";
    None where the rule could not be decided, or where `bound` is infinite.
    """

    rule: str
    passed: bool
    message: str
    threshold: float
    value: float | None = None
    bound: float | None = None
    group: str | None = None
    skipped: bool = False


@dataclass(frozen=True)
class _HeldOut:
    """Rows that no model has seen, with the models' scores of them."""

    truth: np.ndarray
    scores: Mapping[str, np.ndarray]
    slices: Mapping[str, np.ndarray]
    blocks: np.ndarray | None
    resamples: int
    seed: int

    def groups(self, rule: Rule) -> Iterator[tuple[str | None, np.ndarray]]:
        """The groups that a rule looks at, with the positions of their rows."""
        if rule.slice is None:
            yield None, np.arange(self.truth.size)
            return
        if rule.slice not in self.slices:
            raise ValueError(f"rule {rule.name!r}: the held-out rows have no slice {rule.slice!r}")
        labels, codes = np.unique(self.slices[rule.slice], return_inverse=True)
        for code, label in enumerate(labels):
            rows = np.flatnonzero(codes == code)
            blocks = rows if self.blocks is None else np.unique(self.blocks[rows])
            if rows.size >= rule.min_rows and blocks.size >= MIN_BLOCKS:
                yield str(label), rows

    def bootstrap(self, metric: Metric, rows: np.ndarray) -> Bootstrap:
        found = bootstrap(
            [metric],
            self.truth[rows],
            {name: score[rows] for name, score in self.scores.items()},
            blocks=None if self.blocks is None else self.blocks[rows],
            resamples=self.resamples,
            seed=self.seed,
        )
        return found[metric.name]


def judge(
    rules: Sequence[Rule],
    truth: np.ndarray,
    scores: Mapping[str, np.ndarray | None],
    slices: Mapping[str, pd.Series] | None = None,
    *,
    objective: str,
    blocks: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[RuleResult]:
    """Decide each rule on held-out rows, in the order given.

    `scores` holds a score a row for "candidate", "dummy" and, where there is one, "champion";
    `slices` a group a row, `blocks` a block of rows that share their fate (`bootstrap`; None: each
    row is its own). While there is no champion, rules against it are skipped; a gate that
    has no others is decided by `objective`: the candidate must beat the dummy.
    Raises ValueError where the rows cannot decide anything: none at all, a single class, a score
    that is missing or no probability.
    """
    rows = _HeldOut(
        np.asarray(truth, dtype="float64"),
        {k: np.asarray(v, dtype="float64") for k, v in scores.items() if v is not None},
        {name: np.asarray(values).astype(str) for name, values in (slices or {}).items()},
        blocks,
        resamples,
        seed,
    )
    _require_sound(rows, METRICS[objective])
    if "champion" in rows.scores:
        return [_decide(rule, rows) for rule in rules]
    if all(rule.against == "champion" for rule in rules):
        first = _decide(Rule(metric=objective, against="dummy"), rows)
        message = f"no champion yet, so the dummy is the one to beat: {first.message}"
        return [replace(first, rule=rule.name, message=message) for rule in rules]
    return [_skip(rule) if rule.against == "champion" else _decide(rule, rows) for rule in rules]


def _skip(rule: Rule) -> RuleResult:
    return RuleResult(
        rule=rule.name,
        passed=True,
        skipped=True,
        message="no champion yet; the other rules decide",
        threshold=rule.threshold,
    )


def _decide(rule: Rule, rows: _HeldOut) -> RuleResult:
    metric = METRICS[rule.metric]
    names, values, draws = [], [], []
    for name, positions in rows.groups(rule):
        try:
            found = rows.bootstrap(metric, positions)
        except UndefinedMetricError as error:
            return _undecided(rule, f"{rule.slice} {name}: {error}")
        value, resampled = found.gains("candidate", _opponent(rule))
        names.append(name)
        values.append(value)
        draws.append(resampled)
    if not names:
        return _undecided(
            rule, f"no group of {rule.slice} has {rule.min_rows} rows in {MIN_BLOCKS} blocks"
        )
    bounds = _bounds(rule, np.array(values), draws)
    worst = int(np.lexsort((np.array(values), bounds))[0])
    return _result(rule, values[worst], float(bounds[worst]), names[worst], len(names))


def _bounds(rule: Rule, values: np.ndarray, draws: Sequence[np.ndarray]) -> np.ndarray:
    """The lower end of each group's one-sided interval, counted so that more is better."""
    if rule.slice is None:
        return np.array([lower_bound(draws[0], rule.confidence)])
    errors = np.array([np.nanstd(group) for group in draws])
    return pooled_bounds(values, errors, rule.confidence)


def _result(rule: Rule, value: float, bound: float, group: str | None, groups: int) -> RuleResult:
    metric = METRICS[rule.metric]
    if rule.against == "absolute":
        # value and bound were signed so that more is better; a second time gives them back
        passed = bound >= metric.gain(rule.threshold, 0.0)
        value, bound = metric.gain(value, 0.0), metric.gain(bound, 0.0)
    else:
        passed = bound > rule.threshold
    return RuleResult(
        rule=rule.name,
        passed=bool(passed),
        message=_message(rule, value, bound, group, groups),
        threshold=rule.threshold,
        value=value,
        bound=bound if np.isfinite(bound) else None,
        group=group,
    )


def _message(rule: Rule, value: float, bound: float, group: str | None, groups: int) -> str:
    where = f" in {rule.slice} {group}, the worst of {groups} groups" if rule.slice else ""
    if rule.against == "absolute":
        what, demand = rule.metric, "must not be worse than"
    else:
        what, demand = f"gain in {rule.metric} over the {rule.against}", "must exceed"
    end = "at most" if rule.against == "absolute" and bound > value else "at least"
    pooled = "pooled with the others " if rule.slice else ""
    sure = f"{pooled}{end} {bound:.4g} with" if np.isfinite(bound) else "no bound is known with"
    return (
        f"{what}{where}: {value:.4g}, {sure} {rule.confidence:.0%} confidence;"
        f" that {demand} {rule.threshold:g}"
    )


def _undecided(rule: Rule, message: str) -> RuleResult:
    return RuleResult(rule=rule.name, passed=False, message=message, threshold=rule.threshold)


def _opponent(rule: Rule) -> str | None:
    return None if rule.against == "absolute" else rule.against


def _require_sound(rows: _HeldOut, objective: Metric) -> None:
    if not rows.truth.size:
        raise ValueError("there are no held-out rows: nothing can be proved")
    missing = {"candidate", "dummy"} - set(rows.scores)
    if missing:
        raise ValueError(f"scores: {', '.join(sorted(missing))} missing")
    for name, values in {"truth": rows.truth, **rows.scores}.items():
        _require_values(name, values, rows.truth.size, objective)
    if objective.kind == "classification":
        classes = np.unique(rows.truth).tolist()
        if classes != [0.0, 1.0]:
            raise ValueError(
                f"truth: the {rows.truth.size} held-out rows hold the classes {classes[:5]}, not"
                " exactly 0 and 1; where one is missing, choose a longer holdout"
            )


def _require_values(name: str, values: np.ndarray, rows: int, objective: Metric) -> None:
    if values.shape != (rows,):
        raise ValueError(f"{name}: shape {values.shape}, expected a value for each of {rows} rows")
    bad = ~np.isfinite(values)
    if objective.kind == "classification":
        bad |= (values < 0) | (values > 1)
    if bad.any():
        raise ValueError(
            f"{name}: {int(bad.sum())} of {rows} values are missing, infinite or no probability,"
            f" e.g. {values[bad][0]} in row {int(np.argmax(bad))}"
        )
