"""Will a flight that leaves New York arrive at least 15 minutes late?

Predicted two hours before the scheduled departure, from what is known then: the schedule, the
aircraft, the weather observed, and how flights that left or landed by then have fared.

Cancelled and diverted flights (2.8 %) have no arrival delay. As in the on-time statistics of the
US Bureau of Transportation Statistics, they are neither on time nor late: they get a prediction,
like every flight, but have no label, so they count neither in training nor in any metric. That a
flight has not left yet is known, whatever becomes of it, and may be used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import lazy_loader as lazy

from mlops_assets.ml.contract import Column
from mlops_assets.ml.families import ModelFamily
from mlops_assets.ml.gates import Rule
from mlops_assets.use_cases import UseCase
from mlops_assets.use_cases._flights import (
    ANEMOMETER_MAX,
    CARRIERS,
    DESTINATIONS,
    HORIZON_HOURS,
    ORIGINS,
    fetch,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from optuna import Trial
    from sklearn.base import BaseEstimator
else:
    np = lazy.load("numpy")
    pd = lazy.load("pandas")

DAY_MINUTES = 24 * 60

SCHEDULE = (
    Column(
        name="hour",
        dtype="int",
        unit="h",
        min=0,
        max=23,
        description="Hour of the scheduled departure on the clocks of New York.",
    ),
    Column(name="carrier", dtype="str", allowed=CARRIERS, description="Airline, by IATA code."),
    Column(name="origin", dtype="str", allowed=ORIGINS, description="Airport of departure."),
    Column(name="dest", dtype="str", allowed=DESTINATIONS, description="Airport of arrival."),
    Column(
        name="distance",
        dtype="int",
        unit="mi",
        min=1,
        max=12_500,
        description="Great-circle distance between the two airports.",
    ),
)


def _reading(name: str, unit: str, low: float, high: float, description: str) -> Column:
    return Column(
        name=name,
        dtype="float",
        unit=unit,
        min=low,
        max=high,
        nullable=True,
        description=f"{description}, by the latest observation at the airport of departure.",
    )


WEATHER = (
    _reading("temperature", "degF", -80, 140, "Temperature of the air"),
    _reading("dew_point", "degF", -100, 100, "Dew point"),
    _reading("wind_speed", "mi/h", 0, ANEMOMETER_MAX, "Mean speed of the wind"),
    _reading("precipitation", "in", 0, 20, "Rain or melted snow of the hour"),
    _reading("pressure", "hPa", 850, 1090, "Pressure of the air at sea level"),
    _reading("visibility", "mi", 0, 10, "How far one sees, 10 or more counting as 10"),
)

CONTRACT = (
    Column(
        name="flight_id",
        dtype="str",
        description="Carrier, flight number, airports and scheduled departure in UTC.",
    ),
    Column(name="event_time", dtype="timestamp", description="Scheduled departure."),
    Column(
        name="prediction_time",
        dtype="timestamp",
        description=f"When the prediction is made: {HORIZON_HOURS} hours before that.",
    ),
    *SCHEDULE,
    Column(name="flight", dtype="int", min=1, max=9999, description="Flight number."),
    Column(
        name="scheduled_minutes",
        dtype="int",
        unit="min",
        min=10,
        max=1_200,
        description="Time from gate to gate by the schedule.",
    ),
    Column(name="tailnum", dtype="str", nullable=True, description="Registration of the aircraft."),
    Column(
        name="year_built",
        dtype="int",
        nullable=True,
        min=1930,
        max=2100,
        description="When the aircraft was built; missing where the register lacks it.",
    ),
    Column(name="seats", dtype="int", nullable=True, min=1, max=900, description="Seats on board."),
    Column(
        name="weather_at",
        dtype="timestamp",
        nullable=True,
        description="Since when the observation of the weather has been known.",
    ),
    *WEATHER,
    _reading("humidity", "%", 0, 100, "Relative humidity"),
    _reading("wind_direction", "deg", 0, 360, "Where the wind comes from, clockwise from north"),
    _reading("wind_gust", "mi/h", 0, 250, "Peak speed of the wind, where there are gusts"),
    Column(
        name="departed_at",
        dtype="timestamp",
        nullable=True,
        known_at="departed_at",
        description="Actual departure; missing for a flight that was cancelled.",
    ),
    Column(
        name="dep_delay",
        dtype="int",
        unit="min",
        nullable=True,
        min=-DAY_MINUTES,
        max=DAY_MINUTES,
        known_at="departed_at",
        description="Actual minus scheduled departure.",
    ),
    Column(
        name="landed_at",
        dtype="timestamp",
        nullable=True,
        known_at="landed_at",
        description="Arrival at the gate; missing for a flight that was cancelled or diverted.",
    ),
    Column(
        name="arr_delay",
        dtype="int",
        unit="min",
        nullable=True,
        min=-DAY_MINUTES,
        max=DAY_MINUTES,
        known_at="landed_at",
        description="Actual minus scheduled arrival.",
    ),
    Column(
        name="air_time",
        dtype="int",
        unit="min",
        nullable=True,
        min=1,
        max=1_200,
        known_at="landed_at",
        description="Time from take-off to touch-down.",
    ),
    Column(
        name="late",
        dtype="float",
        nullable=True,
        min=0,
        max=1,
        known_at="landed_at",
        description="1 where the flight arrived at least 15 minutes late, else 0; missing for a "
        "flight that was cancelled or diverted.",
    ),
)


@dataclass(frozen=True)
class Recent:
    """How flights like this one have fared lately, as known at the prediction time.

    `what` is "departure" or "arrival" (mean delay of those that left or landed within `hours`), or
    "overdue": the share of those scheduled within `hours` that had not left `after` minutes later.
    """

    what: str
    by: tuple[str, ...]
    hours: int
    after: int = 0

    @property
    def column(self) -> Column:
        name = f"{self.what}{self.after or ''}_{'_'.join(self.by)}_{self.hours}h"
        whose = f"flights of the same {' and '.join(self.by)} within {self.hours} h"
        if self.what == "overdue":
            text = f"Share of {whose} that had not left {self.after} minutes after schedule."
            return _number(name, "1", 0, 1, text, nullable=True)
        low, high = CLIPS[self.what]
        return _number(name, "min", low, high, f"Mean {self.what} delay of {whose}.", nullable=True)


CLIPS = {"departure": (-30, 180), "arrival": (-60, 240)}
"""Minutes: one flight's delay counts no more than this in a mean."""
RECENT = (
    Recent("departure", ("origin",), 1),
    Recent("arrival", ("origin",), 1),
    Recent("arrival", ("origin",), 3),
    Recent("arrival", ("carrier", "origin"), 3),
    Recent("arrival", ("carrier", "origin"), 24),
    Recent("arrival", ("dest",), 6),
    Recent("arrival", ("dest",), 24),
    Recent("arrival", ("carrier", "flight"), 7 * 24),
    Recent("overdue", ("origin",), 2, after=15),
    Recent("overdue", ("origin",), 2, after=45),
    Recent("overdue", ("carrier",), 3, after=15),
    Recent("overdue", ("carrier", "origin"), 4, after=15),
)
# A week before the prediction, for flights that took off a day late and flew for 20 hours.
HISTORY = timedelta(days=9)
CRUISE = 8.0
"""Miles a minute: what distance alone explains of the scheduled time."""


def _number(
    name: str, unit: str, low: float, high: float, description: str, nullable: bool = False
) -> Column:
    return Column(
        name=name,
        dtype="float",
        unit=unit,
        min=low,
        max=high,
        nullable=nullable,
        description=description,
    )


FEATURES = (
    *(replace(c, dtype="float") if c.dtype == "int" else c for c in SCHEDULE),
    _number(
        "padding",
        "min",
        -1_600,
        1_200,
        "Scheduled time beyond that of flying at 480 miles an hour.",
    ),
    _number(
        "departures_before",
        "1",
        1,
        500,
        "Departures that the airport scheduled in the hour before.",
    ),
    _number("aircraft_age", "years", -1, 100, "Age of the aircraft.", nullable=True),
    _number("seats", "1", 1, 900, "Seats on board.", nullable=True),
    *WEATHER,
    _number(
        "wind_east",
        "mi/h",
        -ANEMOMETER_MAX,
        ANEMOMETER_MAX,
        "Wind from the east; west is negative.",
        nullable=True,
    ),
    _number(
        "wind_north",
        "mi/h",
        -ANEMOMETER_MAX,
        ANEMOMETER_MAX,
        "Wind from the north; south is negative.",
        nullable=True,
    ),
    *(recent.column for recent in RECENT),
    _number(
        "turnaround",
        "min",
        -5_000,
        2_000,
        "Time the aircraft has left, when it is back from its previous flight out of New York as "
        "far as is known, until it is to leave.",
        nullable=True,
    ),
    _number(
        "turnaround_planned",
        "min",
        -5_000,
        2_000,
        "The same, had that flight been on time.",
        nullable=True,
    ),
    _number(
        "previous_leg",
        "1",
        0,
        2,
        "That previous flight has not left (0), is in the air (1), has landed (2).",
        nullable=True,
    ),
)


def compute_features(rows: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """The model's inputs, from what is known at each row's own prediction time."""
    return pd.DataFrame(
        {
            **_schedule_features(rows, history),
            **_aircraft_features(rows),
            **_weather_features(rows),
            **{r.column.name: _recent_feature(r, rows, history) for r in RECENT},
            **_turnaround_features(rows, history),
        },
        index=rows.index,
    )[[column.name for column in FEATURES]]


def _schedule_features(rows: pd.DataFrame, history: pd.DataFrame) -> dict[str, Any]:
    groups, own = _groups(history, rows, ("origin",))
    scheduled = np.sort(_keys(groups, _seconds(history["event_time"])))
    first, last = _window(scheduled, _keys(own, _seconds(rows["event_time"])), 3600)
    return {
        **{name: rows[name].astype(str).astype(object) for name in ("carrier", "origin", "dest")},
        **{name: _floats(rows[name]) for name in ("hour", "distance")},
        "padding": _floats(rows["scheduled_minutes"]) - _floats(rows["distance"]) / CRUISE,
        "departures_before": (last - first).astype("float64"),
    }


def _aircraft_features(rows: pd.DataFrame) -> dict[str, Any]:
    age = rows["event_time"].dt.year.to_numpy() - _floats(rows["year_built"])
    return {"aircraft_age": age, "seats": _floats(rows["seats"])}


def _weather_features(rows: pd.DataFrame) -> dict[str, Any]:
    direction, speed = np.deg2rad(_floats(rows["wind_direction"])), _floats(rows["wind_speed"])
    return {
        **{column.name: _floats(rows[column.name]) for column in WEATHER},
        "wind_east": speed * np.sin(direction),
        "wind_north": speed * np.cos(direction),
    }


def _recent_feature(recent: Recent, rows: pd.DataFrame, history: pd.DataFrame) -> np.ndarray:
    """Mean over the window that ends at each row's prediction time; NaN where it is empty."""
    groups, own = _groups(history, rows, recent.by)
    known, values = _observed(recent, history)
    keys, values = _in_order(_keys(groups, known), values)
    first, last = _window(keys, _keys(own, _seconds(rows["prediction_time"])), 3600 * recent.hours)
    # Values are whole numbers, so these sums are exact and do not depend on where history begins.
    sums = np.concatenate([[0.0], np.cumsum(values)])
    count = np.where(last > first, last - first, np.nan)
    return np.asarray((sums[last] - sums[first]) / count)


def _observed(recent: Recent, history: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """When each flight of the past told something, in seconds or NaN, and what."""
    departed = _seconds(history["departed_at"])
    if recent.what == "overdue":
        due = _seconds(history["event_time"]) + 60 * recent.after
        return due, (~(departed <= due)).astype("float64")
    if recent.what == "departure":
        return departed, np.clip(_floats(history["dep_delay"]), *CLIPS["departure"])
    return _seconds(history["landed_at"]), np.clip(_floats(history["arr_delay"]), *CLIPS["arrival"])


def _turnaround_features(rows: pd.DataFrame, history: pd.DataFrame) -> dict[str, Any]:
    """Whether the aircraft will be back in time from its previous flight out of New York."""
    leg = _previous_legs(rows, history)
    now, due = _seconds(rows["prediction_time"]), _seconds(rows["event_time"])
    planned, departed, landed = map(
        _seconds, (leg["event_time"], leg["departed_at"], leg["landed_at"])
    )
    flight = 60 * _floats(leg["scheduled_minutes"])
    has_left, has_landed = departed <= now, landed <= now
    leaves = np.where(has_left, departed, np.maximum(planned, now))
    lands = np.where(has_landed, landed, np.maximum(leaves + flight, now))
    return {
        "turnaround": (due - (lands + flight)) / 60,
        "turnaround_planned": (due - (planned + 2 * flight)) / 60,
        "previous_leg": np.where(np.isnan(planned), np.nan, 1.0 * has_left + has_landed),
    }


def _previous_legs(rows: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """For each row, in its order, the last flight of its aircraft scheduled in the day before."""
    columns = ["tailnum", "event_time", "departed_at", "landed_at", "scheduled_minutes"]
    legs = history.loc[history["tailnum"].notna(), columns].sort_values(["event_time", "tailnum"])
    wanted = rows[["tailnum"]].assign(until=rows["event_time"], position=np.arange(len(rows)))
    found = pd.merge_asof(
        wanted.sort_values("until"),
        legs,
        left_on="until",
        right_on="event_time",
        by="tailnum",
        tolerance=pd.Timedelta(days=1),
        allow_exact_matches=False,
    )
    return found.sort_values("position")


def _groups(
    history: pd.DataFrame, rows: pd.DataFrame, by: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The number of each flight's group, for the history and for the rows."""
    names = list(by)
    both = pd.concat([history[names], rows[names]], ignore_index=True)
    groups = both.groupby(names, sort=False).ngroup().to_numpy()
    return groups[: len(history)], groups[len(history) :]


def _keys(groups: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Numbers that order moments by group, then by time, with room for 250 years in between."""
    return np.asarray(groups * 2.0**33 + seconds)


def _in_order(keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sorted by key, without those that lack either."""
    known = ~np.isnan(keys + values)
    keys, values = keys[known], values[known]
    order = np.argsort(keys)
    return keys[order], values[order]


def _window(keys: np.ndarray, at: np.ndarray, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Where in the sorted keys (at - seconds, at] begins and ends."""
    return np.searchsorted(keys, at - seconds, "right"), np.searchsorted(keys, at, "right")


def _seconds(times: pd.Series) -> np.ndarray:
    """Since 1970; NaN where there is none."""
    elapsed = times - pd.Timestamp(0, tz="UTC")
    return _floats(elapsed / pd.Timedelta(seconds=1))


def _floats(values: pd.Series) -> np.ndarray:
    return np.asarray(values.to_numpy("float64", na_value=np.nan))


CATEGORIES = [column.name for column in FEATURES if column.dtype == "str"]
NUMBERS = [column.name for column in FEATURES if column.dtype != "str"]


def _linear_space(trial: Trial) -> Mapping[str, Any]:
    return {"C": trial.suggest_float("C", 1e-3, 1.0, log=True)}


def _linear(params: Mapping[str, Any], seed: int) -> BaseEstimator:
    """A logistic regression on ranks, as delays have long tails, and on one column a code."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, QuantileTransformer, StandardScaler

    ranks = QuantileTransformer(n_quantiles=50, random_state=seed)
    numbers = make_pipeline(SimpleImputer(strategy="median"), ranks, StandardScaler())
    codes = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=50)
    inputs = ColumnTransformer(
        [("numbers", numbers, NUMBERS), ("codes", codes, CATEGORIES)], sparse_threshold=0
    )
    # Far more rows than columns: a few Newton steps where L-BFGS takes hundreds.
    regression = LogisticRegression(**params, solver="newton-cholesky", random_state=seed)
    return make_pipeline(inputs, regression)


def _boosted_space(trial: Trial) -> Mapping[str, Any]:
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.05, 0.12, log=True),
        "max_leaf_nodes": trial.suggest_int("max_leaf_nodes", 8, 24, step=4),
        "min_samples_leaf": trial.suggest_int("min_samples_leaf", 50, 400, log=True),
        "l2_regularization": trial.suggest_float("l2_regularization", 1.0, 100.0, log=True),
    }


def _boosted(params: Mapping[str, Any], seed: int) -> BaseEstimator:
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    inputs = ColumnTransformer([("numbers", "passthrough", NUMBERS), ("codes", codes, CATEGORIES)])
    boosting = HistGradientBoostingClassifier(
        **params, max_iter=100, early_stopping=False, random_state=seed
    )
    return make_pipeline(inputs, boosting)


USE_CASE = UseCase(
    name="flight_delays",
    description="Will a flight that leaves New York arrive 15 minutes late or more? Predicted two "
    "hours before its scheduled departure, so that passengers and gates can be rebooked in time. "
    "Flights that are cancelled or diverted get a prediction but count in no metric.",
    owners=("team:flight-operations",),
    kind="classification",
    start=date(2013, 1, 1),
    end=date(2014, 1, 1),
    timezone="America/New_York",
    fetch=fetch,
    contract=CONTRACT,
    key=("flight_id",),
    event_time="event_time",
    prediction_time="prediction_time",
    label="late",
    label_delay=timedelta(days=1),
    features=FEATURES,
    compute_features=compute_features,
    history=HISTORY,
    families=(
        ModelFamily("logistic_regression", _linear_space, _linear),
        ModelFamily("gradient_boosting", _boosted_space, _boosted),
    ),
    objective="log_loss",
    metrics=("log_loss", "roc_auc", "brier", "average_precision"),
    slices=("carrier", "origin", "hour"),
    gate=(
        Rule(metric="log_loss", against="champion", confidence=0.8),
        Rule(metric="roc_auc", against="champion", threshold=-0.01),
        Rule(metric="log_loss", against="champion", slice="carrier", threshold=-0.03),
        Rule(metric="log_loss", against="champion", slice="origin", threshold=-0.02),
        Rule(metric="log_loss", against="dummy", threshold=0.01),
        Rule(metric="roc_auc", against="absolute", threshold=0.6),
        Rule(metric="log_loss", against="absolute", threshold=0.69),
    ),
    trials=4,
)
