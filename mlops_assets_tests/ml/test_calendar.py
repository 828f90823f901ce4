from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.ml.calendar import Calendar

NEW_YORK = Calendar("America/New_York")
moments = st.datetimes(datetime(2012, 1, 1), datetime(2026, 1, 1), timezones=st.just(UTC))
cadences = st.sampled_from(["day", "hour"])


@given(moments, cadences)
def test_a_moment_lies_in_the_interval_of_its_key(moment, cadence):
    calendar = Calendar("America/New_York", cadence)
    start, end = calendar.interval(calendar.key(moment))
    # The hour after clocks go back has the key, and the interval, of the hour before.
    assert start <= moment
    assert moment < end or (cadence == "hour" and moment - end < timedelta(hours=1))


@given(moments)
def test_a_week_begins_on_the_monday_before(moment):
    start, end = NEW_YORK.week(NEW_YORK.week_key(moment))
    assert start.weekday() == 0
    assert start <= moment < end


@pytest.mark.parametrize(
    ("day", "hours"), [("2013-03-10", 23), ("2013-11-03", 25), ("2013-05-01", 24)]
)
def test_days_are_as_long_as_the_clock_makes_them(day, hours):
    start, end = NEW_YORK.interval(day)
    assert end.astimezone(UTC) - start.astimezone(UTC) == timedelta(hours=hours)


def test_keys_of_a_range():
    start, end = NEW_YORK.interval("2013-03-09")[0], NEW_YORK.interval("2013-03-12")[0]
    assert NEW_YORK.keys(start, end) == ["2013-03-09", "2013-03-10", "2013-03-11"]
    assert NEW_YORK.week_keys(start, end) == ["2013-03-11"]
    assert NEW_YORK.keys(start + timedelta(hours=1), end) == ["2013-03-10", "2013-03-11"]


def test_hours_skip_the_one_that_clocks_skip():
    hourly = Calendar("America/New_York", "hour")
    keys = hourly.keys(*NEW_YORK.interval("2013-03-10"))
    assert len(keys) == 23
    assert "2013-03-10-02:00" not in keys


@pytest.mark.parametrize("key", ["2013-1", "yesterday", "2013-13-01"])
def test_a_wrong_key_is_refused_with_an_example(key):
    with pytest.raises(ValueError, match="write it like 2013-01-07"):
        NEW_YORK.interval(key)
