"""What can be wrong with a use case's declaration, found when it is declared."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from mlops_assets.ml.contract import Column
from mlops_assets.ml.metrics import METRICS

if TYPE_CHECKING:
    from mlops_assets.use_cases import UseCase


def problems(use_case: UseCase) -> list[tuple[str, str]]:
    """(field, what is wrong with it), for every mistake found."""
    return [
        *_identity_problems(use_case),
        *_column_problems(use_case),
        *_model_problems(use_case),
        *_time_problems(use_case),
        *_retraining_problems(use_case),
    ]


def _identity_problems(use_case: UseCase) -> list[tuple[str, str]]:
    problems = []
    if not re.fullmatch(r"[a-z][a-z0-9_]*", use_case.name):
        problems.append(("name", "write it in lower case letters, digits and underscores"))
    if not use_case.description.strip():
        problems.append(("description", "say what is predicted, for whom"))
    if not use_case.owners:
        problems.append(("owners", "name at least one, e.g. 'team:data' or an e-mail address"))
    problems += [
        ("owners", f"{owner!r} is neither an e-mail address nor 'team:name'")
        for owner in use_case.owners
        if "@" not in owner and not owner.startswith("team:")
    ]
    return problems


def _column_problems(use_case: UseCase) -> list[tuple[str, str]]:
    columns = {column.name: column for column in use_case.contract}
    problems = [
        (f, f"the contract has no column {name!r}")
        for f, names in {
            "key": use_case.key,
            "event_time": (use_case.event_time,),
            "prediction_time": (use_case.prediction_time,),
            "recorded_at": (use_case.recorded_at,) if use_case.recorded_at else (),
            "label": (use_case.label,),
            "contract": tuple(c.known_at for c in use_case.contract if c.known_at),
        }.items()
        for name in names
        if name not in columns
    ]
    if not use_case.key:
        problems.append(("key", "name the columns that identify a row"))
    for f in ("event_time", "prediction_time"):
        column = columns.get(getattr(use_case, f))
        if column is not None and (column.dtype != "timestamp" or column.nullable):
            problems.append((f, f"{column.name!r} must be a timestamp that is never missing"))
    if use_case.label in columns and columns[use_case.label].known_at is None:
        problems.append(("label", f"{use_case.label!r} needs `known_at`: a label isn't known yet"))
    problems += [("contract", f"{n!r} appears twice") for n in _repeated(use_case.contract)]
    return problems + _feature_problems(use_case, columns)


def _feature_problems(use_case: UseCase, columns: Mapping[str, Column]) -> list[tuple[str, str]]:
    names = use_case.feature_names
    late = {name for name, column in columns.items() if column.known_at is not None}
    problems = [("features", f"{name!r} appears twice") for name in _repeated(use_case.features)]
    if not names:
        problems.append(("features", "name at least one"))
    if use_case.label in names:
        problems.append(("features", f"{use_case.label!r} is the label"))
    problems += [
        ("features", f"{name!r} is known only after the prediction (`known_at`)")
        for name in names
        if name in late and name != use_case.label
    ]
    problems += [
        ("slices", f"{name!r} is no feature") for name in use_case.slices if name not in names
    ]
    return problems


def _model_problems(use_case: UseCase) -> list[tuple[str, str]]:
    problems = [
        (f, f"{name!r} is no metric of {use_case.kind}; there are {', '.join(_metrics(use_case))}")
        for f, names in {
            "metrics": use_case.metrics,
            "objective": (use_case.objective,),
            "gate": tuple(rule.metric for rule in use_case.gate),
        }.items()
        for name in names
        if name not in _metrics(use_case)
    ]
    problems += [
        ("gate", f"rule {rule.name!r} judges a metric that `metrics` does not list")
        for rule in use_case.gate
        if rule.metric not in use_case.metrics
    ]
    problems += [
        ("gate", f"rule {rule.name!r} names {rule.slice!r}, which `slices` does not list")
        for rule in use_case.gate
        if rule.slice is not None and rule.slice not in use_case.slices
    ]
    if use_case.objective not in use_case.metrics:
        problems.append(("objective", f"{use_case.objective!r} must be one of `metrics`"))
    if not use_case.families:
        problems.append(("families", "name at least one"))
    if not use_case.gate:
        problems.append(("gate", "name at least one rule; a gate that asks nothing guards nothing"))
    if use_case.trials < 1:
        problems.append(("trials", "at least 1"))
    return problems


def _time_problems(use_case: UseCase) -> list[tuple[str, str]]:
    zero = timedelta(0)
    problems = [
        (f, f"{getattr(use_case, f)} is negative")
        for f in ("label_delay", "history")
        if getattr(use_case, f) < zero
    ]
    problems += [
        (f, f"{getattr(use_case, f)} is not a whole number of weeks, at least one")
        for f in ("train_window", "holdout")
        if getattr(use_case, f) <= zero or getattr(use_case, f) % timedelta(weeks=1)
    ]
    if use_case.holdout >= use_case.train_window:
        problems.append(("holdout", "must be shorter than train_window"))
    if use_case.end is not None and use_case.end <= use_case.start:
        problems.append(("end", f"{use_case.end} is not after start {use_case.start}"))
    problems += [
        (f, f"{value} is not between 0 and 1")
        for f, value in {"tolerance": use_case.tolerance, "alpha": use_case.alpha}.items()
        if not 0 <= value < 1
    ]
    return problems


def _retraining_problems(use_case: UseCase) -> list[tuple[str, str]]:
    policy = use_case.retraining
    problems = [
        (f"retraining.{f}", f"{getattr(policy, f)} is negative")
        for f in ("cooldown", "pause")
        if getattr(policy, f) < timedelta(0)
    ]
    problems += [
        (f"retraining.{f}", f"at least 1, or nothing is ever {done}")
        for f, done in {"daily_budget": "retrained", "attempts": "tried"}.items()
        if getattr(policy, f) < 1
    ]
    if policy.max_age is not None and policy.max_age < policy.cooldown:
        problems.append(("retraining.max_age", "must not be shorter than retraining.cooldown"))
    return problems


def _metrics(use_case: UseCase) -> list[str]:
    return [metric.name for metric in METRICS.values() if metric.kind == use_case.kind]


def _repeated(columns: Sequence[Column]) -> list[str]:
    names = [column.name for column in columns]
    return sorted({name for name in names if names.count(name) > 1})
