"""Partitions as intervals of time: the cadence data arrive in, and weeks from Monday to Monday."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

Cadence = Literal["day", "hour"]
WEEK = timedelta(weeks=1)

_FORMATS: dict[str, str] = {"day": "%Y-%m-%d", "hour": "%Y-%m-%d-%H:%M"}
_STEPS: dict[str, timedelta] = {"day": timedelta(days=1), "hour": timedelta(hours=1)}


@dataclass(frozen=True)
class Calendar:
    """Turns partition keys into half-open intervals of local time and back.

    A day lasts from local midnight to local midnight: 23 or 25 hours when clocks change.
    """

    timezone: str
    cadence: Cadence = "day"

    @property
    def step(self) -> timedelta:
        return _STEPS[self.cadence]

    def key(self, moment: datetime) -> str:
        """The key of the partition that contains `moment`."""
        return moment.astimezone(ZoneInfo(self.timezone)).strftime(_FORMATS[self.cadence])

    def interval(self, key: str) -> tuple[datetime, datetime]:
        """Start and end of a partition of the data."""
        start = self._parse(key, _FORMATS[self.cadence])
        return start, self._after(start, self.step)

    def week(self, key: str) -> tuple[datetime, datetime]:
        """Start and end of a week, named by its first day."""
        start = self._parse(key, _FORMATS["day"])
        return start, start + WEEK

    def week_key(self, moment: datetime) -> str:
        """The key of the week, from Monday on, that contains `moment`."""
        local = moment.astimezone(ZoneInfo(self.timezone))
        return (local - timedelta(days=local.weekday())).strftime(_FORMATS["day"])

    def first(self, day: date) -> str:
        """The key of the first partition of a day."""
        return day.strftime(_FORMATS[self.cadence])

    def midnight(self, day: date) -> datetime:
        """When a day begins."""
        return datetime.combine(day, time(), ZoneInfo(self.timezone))

    def keys(self, start: datetime, end: datetime) -> list[str]:
        """Keys of the partitions that begin in [start, end)."""
        return list(self._keys(start, end))

    def week_keys(self, start: datetime, end: datetime) -> list[str]:
        """Keys of the weeks that begin in [start, end)."""
        first = self.week(self.week_key(start))[0]
        weeks = range(-(-(end - first) // WEEK))
        keys = [(first + n * WEEK).strftime(_FORMATS["day"]) for n in weeks]
        return [key for key in keys if start <= self.week(key)[0] < end]

    def _keys(self, start: datetime, end: datetime) -> Iterator[str]:
        moment = self.interval(self.key(start))[0]
        while moment < end:
            if moment >= start:
                yield self.key(moment)
            moment = self._after(moment, self.step)

    def _parse(self, key: str, form: str) -> datetime:
        try:
            return datetime.strptime(key, form).replace(tzinfo=ZoneInfo(self.timezone))
        except ValueError:
            example = datetime(2013, 1, 7).strftime(form)
            raise ValueError(f"{key!r} is no partition key; write it like {example}") from None

    def _after(self, moment: datetime, step: timedelta) -> datetime:
        """`moment` plus a step: days on the local clock, hours in real time."""
        if step >= timedelta(days=1):
            return moment + step
        utc = moment.astimezone(ZoneInfo("UTC")) + step
        return utc.astimezone(ZoneInfo(self.timezone))
