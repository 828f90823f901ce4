"""What is predicted: one module a use case, each a `UseCase` named `USE_CASE`."""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mlops_assets.ml.calendar import Cadence, Calendar
from mlops_assets.ml.contract import Column
from mlops_assets.ml.families import ModelFamily
from mlops_assets.ml.gates import Rule
from mlops_assets.ml.metrics import Kind
from mlops_assets.ml.policy import Retraining
from mlops_assets.use_cases._validation import problems

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Column",
    "ModelFamily",
    "Retraining",
    "Rule",
    "UseCase",
    "discover",
    "get",
    "register",
]


@dataclass(frozen=True, kw_only=True)
class UseCase:
    """Everything the life cycle must know about one model: values and callables, no wiring."""

    name: str
    """Prefix of the asset keys, the registry and the tables: lower case letters, digits, _."""
    description: str
    """What is predicted, for whom, in words a product manager understands."""
    owners: tuple[str, ...]
    """E-mail addresses or `team:name`."""
    kind: Kind

    start: date
    """First day of data."""
    end: date | None = None
    """Day after the last one, for data that have ended."""
    timezone: str = "UTC"
    """Where days and weeks begin at midnight."""
    cadence: Cadence = "day"

    fetch: Callable[[datetime, datetime], pd.DataFrame]
    """Rows whose `event_time` lies in [start, end)."""
    contract: tuple[Column, ...]
    """The columns of what `fetch` returns."""
    key: tuple[str, ...]
    """Columns that identify a row."""
    event_time: str
    """Column: when what is predicted happens."""
    prediction_time: str
    """Column: when the prediction is made; nothing known later may enter a feature."""
    recorded_at: str | None = None
    """Column: when a row comes into existence; None: before its prediction time."""

    label: str
    """Column of the contract to predict; its `known_at` says when the truth is known."""
    label_delay: timedelta
    """How long after `event_time` the truth is complete."""

    features: tuple[Column, ...]
    """The model's inputs, which are the service's request, too."""
    compute_features: Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]
    """`(rows, history) -> features`, indexed like `rows`; `history` holds the rows themselves and
    those of the `history` before them, later ones included: mind each row's prediction time."""
    history: timedelta = timedelta(0)
    """How far back `compute_features` looks."""

    families: tuple[ModelFamily, ...]
    objective: str
    """The metric that training optimises."""
    metrics: tuple[str, ...]
    slices: tuple[str, ...] = ()
    """Features by whose values metrics are broken down."""
    gate: tuple[Rule, ...]
    trials: int = 8
    """Hyper-parameter trials for each family."""
    train_window: timedelta = timedelta(weeks=12)
    """How much of the past a model is trained on, its holdout included."""
    holdout: timedelta = timedelta(weeks=1)
    """The end of the window, kept from training: candidate and champion are compared on it."""
    min_training_rows: int = 1_000
    seed: int = 0

    volume: tuple[float, float] = (0.55, 2.0)
    """Rows of a partition, relative to the median of the 28 before it, that count as normal."""
    tolerance: float = 0.0
    """Share of rows that may break the contract, and go to quarantine, without failing it."""
    alpha: float = 0.01
    """How often the drift check of a week may fail although nothing changed."""
    retraining: Retraining = field(default_factory=Retraining)
    """When failed checks, and age, lead to another training."""
    compute: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Stage -> fields of its `ComputeProfile` that differ from the default."""

    def __post_init__(self) -> None:
        mistakes = [f"{field}: {problem}" for field, problem in problems(self)]
        if mistakes:
            raise ValueError(f"use case {self.name!r}: " + "; ".join(mistakes))

    @property
    def calendar(self) -> Calendar:
        return Calendar(self.timezone, self.cadence)

    @property
    def feature_names(self) -> list[str]:
        return [column.name for column in self.features]

    @property
    def label_column(self) -> Column:
        return next(column for column in self.contract if column.name == self.label)


_registered: dict[str, UseCase] = {}


def register(use_case: UseCase) -> UseCase:
    """Make a use case known to workers of this process."""
    _registered[use_case.name] = use_case
    return use_case


def get(name: str) -> UseCase:
    """The use case of that name, wherever it was declared."""
    if name not in _registered:
        discover()
    try:
        return _registered[name]
    except KeyError:
        raise LookupError(f"no use case {name!r}; there are {sorted(_registered)}") from None


def discover() -> list[UseCase]:
    """Every `USE_CASE` in the modules of this package and of those in MLOPS_USE_CASES.

    MLOPS_USE_CASES lists further packages or modules, separated by commas.
    """
    names = [__name__, *filter(None, os.environ.get("MLOPS_USE_CASES", "").split(","))]
    modules = [module for name in names for module in _modules(importlib.import_module(name))]
    return [register(module.USE_CASE) for module in modules if hasattr(module, "USE_CASE")]


def _modules(module: ModuleType) -> list[ModuleType]:
    inner = pkgutil.iter_modules(getattr(module, "__path__", ()), f"{module.__name__}.")
    return [module, *(importlib.import_module(found.name) for found in inner)]
