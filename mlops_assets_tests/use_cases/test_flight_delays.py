"""The contract holds on the real year; features know nothing they could not; models learn."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import optuna
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.ml.contract import PANDAS_DTYPES, as_of, validate
from mlops_assets.ml.families import ModelFamily
from mlops_assets.ml.metrics import METRICS
from mlops_assets.use_cases.flight_delays import (
    CONTRACT,
    FEATURES,
    HISTORY,
    USE_CASE,
    compute_features,
)

Compute = Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]
NEW_YORK = ZoneInfo("America/New_York")


@pytest.fixture(scope="module")
def year() -> pd.DataFrame:
    start, end = datetime(2013, 1, 1, tzinfo=NEW_YORK), datetime(2014, 1, 1, tzinfo=NEW_YORK)
    validation = validate(USE_CASE.fetch(start, end), CONTRACT, USE_CASE.key)
    assert validation.bad.empty
    return validation.good


def between(frame: pd.DataFrame, start: str, end: str) -> pd.DataFrame:
    times = frame["event_time"]
    first, last = (pd.Timestamp(day, tz=NEW_YORK) for day in (start, end))
    return frame[(times >= first) & (times < last)]


# --- contract -------------------------------------------------------------------------------------


def test_no_real_day_has_an_abnormal_volume(year: pd.DataFrame) -> None:
    rows = year.groupby(year["event_time"].dt.tz_convert(NEW_YORK).dt.date).size()
    share = (rows / rows.shift().rolling(28, min_periods=1).median()).dropna()
    assert share.between(*USE_CASE.volume).all()
    assert USE_CASE.volume[0] > 0.5, "half the usual rows must fail"


@pytest.mark.parametrize(
    ("column", "value"),
    [("hour", 25), ("dest", "XXX"), ("origin", "PHL"), ("distance", 0), ("temperature", 300.0)],
)
def test_impossible_values_break_the_contract(
    year: pd.DataFrame, column: str, value: object
) -> None:
    rows = between(year, "2013-05-01", "2013-05-02").reset_index(drop=True)
    rows[column] = rows[column].astype(object)
    rows.loc[3, column] = value
    bad = validate(rows, CONTRACT, USE_CASE.key).bad
    assert bad.index.tolist() == [3]
    assert bad["reason"].str.startswith(column).all()


def test_duplicates_break_the_contract(year: pd.DataFrame) -> None:
    rows = between(year, "2013-05-01", "2013-05-02")
    bad = validate(pd.concat([rows, rows[:2]], ignore_index=True), CONTRACT, USE_CASE.key).bad
    assert len(bad) == 4


def test_every_outcome_says_when_it_is_known() -> None:
    known = {column.name: column.known_at for column in CONTRACT if column.known_at}
    assert known == {
        **dict.fromkeys(("departed_at", "dep_delay"), "departed_at"),
        **dict.fromkeys(("landed_at", "arr_delay", "air_time", "late"), "landed_at"),
    }


def test_importing_the_use_case_is_cheap() -> None:
    # What is loaded lazily is listed, too, but without its parts.
    heavy = ["numpy._core", "pandas.core", "scipy", "sklearn", "optuna", "pyarrow", "dagster"]
    code = (
        "import sys, mlops_assets.use_cases.flight_delays; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- features -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stormy(year: pd.DataFrame) -> pd.DataFrame:
    """The history of a day of long delays and cancellations, and the day after it."""
    return between(year, "2013-06-29", "2013-07-10").reset_index(drop=True)


def corrupted(history: pd.DataFrame, at: pd.Timestamp, seed: int) -> pd.DataFrame:
    """Another future: outcomes not known at that moment change, or never come."""
    random = np.random.default_rng(seed)
    history = history.copy()
    for known_at in ("departed_at", "landed_at"):
        unknown = ~(history[known_at] <= at)
        count = int(unknown.sum())
        minutes = random.integers(1, 3_000, count).astype("float64")
        minutes[random.random(count) < 0.2] = np.nan
        history.loc[unknown, known_at] = at + pd.to_timedelta(minutes, unit="min")
        for column in CONTRACT:
            if column.known_at == known_at and column.dtype != "timestamp":
                history.loc[unknown, column.name] = random.integers(0, 1_000, count)
    return history


def shuffled(history: pd.DataFrame, at: pd.Timestamp, seed: int) -> pd.DataFrame:
    """In another order, without any of the flights that come later."""
    return history[history["prediction_time"] <= at].sample(frac=1, random_state=seed)


def masked(history: pd.DataFrame, at: pd.Timestamp, seed: int) -> pd.DataFrame:
    """As the table stood at that moment."""
    return as_of(history, CONTRACT, at)


WORLDS = (corrupted, shuffled, masked)


def sees_the_future(compute: Compute, history: pd.DataFrame, position: int, seed: int) -> bool:
    """Whether the features of one row depend on what is not known when it is predicted."""
    row = history.iloc[[position]]
    at = row["prediction_time"].iloc[0]
    expected = compute(row, history)
    worlds = [world(history, at, seed) for world in WORLDS]
    return any(not compute(w.loc[row.index], w).equals(expected) for w in worlds)


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_features_know_nothing_later_than_the_prediction(
    stormy: pd.DataFrame, data: st.DataObject
) -> None:
    first = int(stormy["event_time"].searchsorted(stormy["event_time"].min() + HISTORY))
    position = data.draw(st.integers(first, len(stormy) - 1))
    assert not sees_the_future(compute_features, stormy, position, data.draw(st.integers(0, 99)))


def leaky_delays(rows: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """Delays of flights that were to leave before the prediction, whether or not they had."""
    past = history[history["event_time"] <= rows["prediction_time"].iloc[0]]
    recent = past.sort_values("event_time").tail(50)
    return pd.DataFrame({"delay": recent["dep_delay"].mean()}, index=rows.index)


def leaky_arrivals(rows: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """Arrivals until the departure instead of until the prediction."""
    return compute_features(rows.assign(prediction_time=rows["event_time"]), history)


def leaky_schedule(rows: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """How many flights come after this one."""
    later = history["event_time"] > rows["event_time"].iloc[0]
    return pd.DataFrame({"later": later.sum()}, index=rows.index)


@pytest.mark.parametrize("leaky", [leaky_delays, leaky_arrivals, leaky_schedule])
def test_a_leak_is_caught(stormy: pd.DataFrame, leaky: Compute) -> None:
    position = int(stormy["event_time"].searchsorted(pd.Timestamp("2013-07-08T23:00Z")))
    assert sees_the_future(leaky, stormy, position, seed=0)


@pytest.mark.parametrize("day", ["2013-01-01", "2013-03-10", "2013-07-09", "2013-11-03"])
def test_a_day_alone_has_the_features_it_has_in_a_month(year: pd.DataFrame, day: str) -> None:
    end = str((pd.Timestamp(day) + pd.Timedelta(days=1)).date())
    rows = between(year, day, end)
    near = year[year["event_time"] < rows["event_time"].max() + pd.Timedelta(days=9)]
    history = near[near["event_time"] >= rows["event_time"].min() - HISTORY]
    known = history[history["event_time"] <= rows["event_time"].max()]
    expected = compute_features(near.tail(40_000), near.tail(40_000)).loc[rows.index]
    pd.testing.assert_frame_equal(compute_features(rows, known), expected, check_exact=True)


def test_features_are_those_declared(stormy: pd.DataFrame) -> None:
    features = compute_features(stormy, stormy)
    assert list(features) == USE_CASE.feature_names
    assert features.index.equals(stormy.index)
    dtypes = {name: str(dtype) for name, dtype in features.dtypes.items()}
    assert dtypes == {column.name: PANDAS_DTYPES[column.dtype] for column in FEATURES}
    assert validate(features, FEATURES).bad.empty


def test_no_rows_have_no_features(stormy: pd.DataFrame) -> None:
    assert compute_features(stormy[:0], stormy[:0]).shape == (0, len(FEATURES))


def flight(**changes: object) -> pd.DataFrame:
    """One flight of an invented aircraft at noon UTC, which takes two hours and was on time."""
    noon = pd.Timestamp("2013-05-06T12:00Z")
    row = {column.name: None for column in CONTRACT} | {
        "flight_id": "a",
        "event_time": noon,
        "departed_at": noon,
        "landed_at": noon + pd.Timedelta(hours=2),
        "carrier": "UA",
        "flight": 1,
        "origin": "EWR",
        "dest": "ORD",
        "tailnum": "N1",
        "hour": 8,
        "distance": 700,
        "scheduled_minutes": 120,
        "dep_delay": 0,
        "arr_delay": 0,
        "late": 0,
        **changes,
    }
    frame = pd.DataFrame([row])
    frame["prediction_time"] = frame["event_time"] - pd.Timedelta(hours=2)
    return frame.astype({c.name: PANDAS_DTYPES[c.dtype] for c in CONTRACT})


@pytest.mark.parametrize(
    ("before", "leg", "minutes_left"),
    [
        ({}, 2, 120),
        ({"landed_at": pd.Timestamp("2013-05-06T15:30Z"), "arr_delay": 90}, 2, 30),
        ({"departed_at": pd.Timestamp("2013-05-06T15:00Z"), "landed_at": None}, 1, 0 - 60),
        ({"departed_at": None, "landed_at": None}, 0, -120),
    ],
    ids=["on time", "landed late", "in the air", "not gone"],
)
def test_the_aircraft_must_be_back(before: dict[str, object], leg: int, minutes_left: int) -> None:
    """Noon: out, two hours; 18:00: out again, predicted at 16:00."""
    row = flight(flight_id="b", event_time=pd.Timestamp("2013-05-06T18:00Z"))
    history = pd.concat([flight(**before), row], ignore_index=True)
    (features,) = compute_features(history[1:], history).to_dict("records")
    assert features["previous_leg"] == leg
    assert features["turnaround"] == minutes_left
    assert features["turnaround_planned"] == 120


def test_a_cancelled_flight_tells_only_that_it_has_not_left() -> None:
    gone = {"departed_at": None, "landed_at": None, "dep_delay": None, "arr_delay": None}
    row = flight(flight_id="b", event_time=pd.Timestamp("2013-05-06T15:00Z"), tailnum="N2")
    history = pd.concat([flight(**gone, late=None), row], ignore_index=True)
    (features,) = compute_features(history[1:], history).to_dict("records")
    assert features["overdue15_origin_2h"] == 1
    assert np.isnan(features["departure_origin_1h"])
    assert np.isnan(features["arrival_carrier_origin_24h"])


def test_a_delay_that_was_never_reported_spoils_no_mean() -> None:
    later = pd.Timestamp("2013-05-06T14:30Z")
    row = flight(flight_id="b", event_time=later, departed_at=later, tailnum="N2")
    history = pd.concat([flight(dep_delay=None), flight(dep_delay=8), row], ignore_index=True)
    (features,) = compute_features(history[2:], history).to_dict("records")
    assert features["departure_origin_1h"] == 8


# --- models ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learned(year: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Features and label of two weeks to learn from and of the days that follow."""
    rows = between(year, "2013-05-13", "2013-06-12")
    table = compute_features(rows, rows).assign(late=rows["late"]).dropna(subset="late")
    start = rows["event_time"].loc[table.index]
    train = table[start < pd.Timestamp("2013-06-05", tz=NEW_YORK)]
    return train[train.index >= rows.index[8_000]], table.drop(train.index)


@pytest.fixture(scope="module", params=USE_CASE.families, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> ModelFamily:
    found: ModelFamily = request.param
    return found


def scores(family: ModelFamily, train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    model = family.build(family.space(trial), USE_CASE.seed)
    model.fit(train[USE_CASE.feature_names], train["late"])
    return np.asarray(model.predict_proba(test[USE_CASE.feature_names])[:, 1])


def test_families_learn_and_beat_the_dummy(
    family: ModelFamily, learned: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    train, test = learned
    truth, score = test["late"].to_numpy(), scores(family, train, test)
    dummy = np.full(len(truth), train["late"].mean())
    assert METRICS["log_loss"](truth, score) < METRICS["log_loss"](truth, dummy) - 0.01
    assert METRICS["roc_auc"](truth, score) > 0.6


def test_families_are_reproducible(
    family: ModelFamily, learned: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    train, test = learned[0].tail(4_000), learned[1].head(500)
    assert np.array_equal(scores(family, train, test), scores(family, train, test))


def test_families_take_what_they_have_never_seen(
    family: ModelFamily, learned: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    train, test = learned[0].tail(4_000), learned[1].head(20)
    nullable = [column.name for column in FEATURES if column.nullable]
    strange = test.assign(carrier="ZZ", origin="PHL", dest="XXX", **dict.fromkeys(nullable, np.nan))
    assert np.isfinite(scores(family, train, strange)).all()
