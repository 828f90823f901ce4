"""What the drill predicts: will an order be sent back? Simulated, and what goes wrong is told.

The simulated source reads what is wrong with the world from a file, so that the drill, the daemon
and its runs see the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import lazy_loader as lazy

from mlops_assets.ml.calendar import WEEK
from mlops_assets.ml.contract import Column
from mlops_assets.ml.families import ModelFamily
from mlops_assets.ml.gates import Rule
from mlops_assets.use_cases import Retraining, UseCase, register
from resources.artifacts import Artifacts
from resources.home import home

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from optuna import Trial
    from sklearn.base import BaseEstimator
else:
    np = lazy.load("numpy")
    pd = lazy.load("pandas")

ORDERS_A_DAY = 200
REGIONS = ("north", "south", "west")
NOW = datetime.fromisoformat("2024-04-22T06:00:00+00:00")
"""What the clock of the life cycle says, whenever the drill is run."""
A_MONTH = timedelta(days=30)
DAY = timedelta(days=1)
WORLD = "world.json"


@dataclass(frozen=True)
class World:
    """What is wrong; dates are written as in ISO 8601, an empty one never comes."""

    shifts: tuple[str, ...] = ()
    """Days from which on baskets are another size and distance means the opposite."""
    lost_column_on: str = ""
    """A day whose orders come without their distance."""
    truth_held_from: str = ""
    """A day from which on the truth becomes known a month from now only."""
    mislabelled: tuple[str, str] = ("", "")
    """From one day until before another, three of ten labels are wrong."""

    @classmethod
    def read(cls) -> World:
        files = Artifacts(str(home()))
        found: dict[str, Any] = files.read_json(WORLD) if files.exists(WORLD) else {}
        return cls(**found)

    def write(self) -> None:
        Artifacts(str(home())).write_json(WORLD, asdict(self))


def fetch(start: datetime, end: datetime) -> pd.DataFrame:
    """Orders from `start` to `end`: in the same world the same, whenever they are asked for."""
    world = World.read()
    days = [f"{day:%Y-%m-%d}" for day in pd.date_range(start, end, inclusive="left", freq="D")]
    return pd.concat([_day(day, world) for day in days], ignore_index=True)


def _day(day: str, world: World) -> pd.DataFrame:
    random = np.random.default_rng(date.fromisoformat(day).toordinal())
    shifts = sum(shift <= day for shift in world.shifts)
    minutes = np.sort(random.choice(24 * 60, ORDERS_A_DAY, replace=False))
    ordered_at = pd.Timestamp(day, tz="UTC") + pd.to_timedelta(minutes, unit="min")
    distance = random.gamma(2.0, 40.0, ORDERS_A_DAY)
    region = random.choice(REGIONS, ORDERS_A_DAY)
    logit = (-1) ** shifts * 0.05 * (distance - 80) + np.where(region == "north", 0.5, -0.5)
    logit += 2 * (shifts % 2)
    returned = random.random(ORDERS_A_DAY) < 1 / (1 + np.exp(-logit))
    if world.mislabelled[0] <= day < world.mislabelled[1]:
        returned ^= np.arange(ORDERS_A_DAY) % 10 < 3
    held = bool(world.truth_held_from) and world.truth_held_from <= day
    orders = pd.DataFrame(
        {
            "order": [f"{day}-{n:03}" for n in range(ORDERS_A_DAY)],
            "ordered_at": ordered_at,
            "reported_at": pd.Timestamp(NOW + A_MONTH) if held else ordered_at + DAY / 2,
            "basket": random.uniform(10, 60, ORDERS_A_DAY) + 100 * shifts,
            "distance": distance,
            "region": region,
            "returned": returned.astype("int64"),
        }
    )
    return orders.drop(columns="distance") if day == world.lost_column_on else orders


def compute_features(rows: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:  # noqa: ARG001
    """What is known of an order when it is placed."""
    return rows[["basket", "distance", "region"]]


def _space(trial: Trial) -> Mapping[str, Any]:
    return {"max_depth": trial.suggest_int("max_depth", 4, 5)}


def _tree(params: Mapping[str, Any], seed: int) -> BaseEstimator:
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder
    from sklearn.tree import DecisionTreeClassifier

    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["region"]),
        remainder="passthrough",
    )
    model = DecisionTreeClassifier(min_samples_leaf=30, random_state=seed, **params)
    return make_pipeline(columns, model)


KNOWN = (
    Column(name="basket", dtype="float", description="Worth of the order.", unit="EUR", min=0),
    Column(name="distance", dtype="float", description="Way to the buyer.", unit="km", min=0),
    Column(name="region", dtype="str", description="Where the buyer lives.", allowed=REGIONS),
)

USE_CASE = register(
    UseCase(
        name="drill",
        description="Will an order be sent back? A simulated world for the drill.",
        owners=("team:drill",),
        kind="classification",
        start=date(2024, 1, 15),
        end=date(2024, 6, 3),
        fetch=fetch,
        contract=(
            Column(name="order", dtype="str", description="Number of the order."),
            Column(name="ordered_at", dtype="timestamp", description="The order was placed."),
            Column(
                name="reported_at",
                dtype="timestamp",
                description="It was known whether the order came back.",
                known_at="reported_at",
            ),
            *KNOWN,
            Column(
                name="returned",
                dtype="int",
                description="The order was sent back.",
                min=0,
                max=1,
                known_at="reported_at",
            ),
        ),
        key=("order",),
        event_time="ordered_at",
        prediction_time="ordered_at",
        label="returned",
        label_delay=DAY,
        features=KNOWN,
        compute_features=compute_features,
        families=(ModelFamily("tree", _space, _tree),),
        objective="log_loss",
        metrics=("log_loss", "roc_auc", "brier"),
        gate=(
            Rule(metric="log_loss", against="champion"),
            Rule(metric="log_loss", against="dummy"),
            Rule(metric="roc_auc", against="absolute", threshold=0.6),
        ),
        trials=2,
        train_window=3 * WEEK,
        holdout=WEEK,
        # The drill's weeks pass in minutes: what protects a real model against too many trainings
        # must not hide that each drifted week leads to one.
        retraining=Retraining(cooldown=WEEK, pause=WEEK, max_age=None, daily_budget=100),
    )
)
