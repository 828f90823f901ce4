"""How the life cycle is cut in time: the data's own cadence, and weeks from Monday on."""

from datetime import timedelta

import dagster as dg

from mlops_assets.use_cases import UseCase

MEMORY = timedelta(days=5 * 365)
"""No champion stays longer."""


def data_partitions(use_case: UseCase) -> dg.TimeWindowPartitionsDefinition:
    """One partition a day or hour of data."""
    kind = {"day": dg.DailyPartitionsDefinition, "hour": dg.HourlyPartitionsDefinition}
    return kind[use_case.cadence](
        start_date=use_case.calendar.first(use_case.start),
        end_date=use_case.calendar.first(use_case.end) if use_case.end else None,
        timezone=use_case.timezone,
    )


def service_partitions(use_case: UseCase) -> dg.TimeWindowPartitionsDefinition:
    """One partition a day or hour in which a service may answer: data may end, serving goes on.

    The present one is there too.
    """
    kind = {"day": dg.DailyPartitionsDefinition, "hour": dg.HourlyPartitionsDefinition}
    return kind[use_case.cadence](
        start_date=use_case.calendar.first(use_case.start),
        timezone=use_case.timezone,
        end_offset=1,
    )


def as_of_weeks(use_case: UseCase) -> dg.WeeklyPartitionsDefinition:
    """Weeks named by the Monday as of which a model is trained: there once that Monday has come."""
    return _weeks(use_case, end_offset=1)


def past_weeks(use_case: UseCase) -> dg.WeeklyPartitionsDefinition:
    """Weeks that are watched: there once they are over."""
    return _weeks(use_case, end_offset=0)


def history(use_case: UseCase) -> dg.TimeWindowPartitionMapping:
    """From a partition of features to the dataset's: its own and those of the history before."""
    steps = -(-use_case.history // use_case.calendar.step)
    return dg.TimeWindowPartitionMapping(
        start_offset=-steps, allow_nonexistent_upstream_partitions=True
    )


def window(use_case: UseCase) -> dg.TimeWindowPartitionMapping:
    """From an as-of week to the data before it that a model may be trained on."""
    weeks = use_case.train_window // timedelta(weeks=1)
    return dg.TimeWindowPartitionMapping(
        start_offset=-weeks, end_offset=-1, allow_nonexistent_upstream_partitions=True
    )


def in_charge() -> dg.TimeWindowPartitionMapping:
    """From a day, or a week that is watched, to the as-of week it lies in."""
    return dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True)


def so_far(use_case: UseCase) -> dg.TimeWindowPartitionMapping:
    """From a day to the as-of weeks of which one has made the champion of that day."""
    return dg.TimeWindowPartitionMapping(
        start_offset=-(MEMORY // use_case.calendar.step), allow_nonexistent_upstream_partitions=True
    )


def _weeks(use_case: UseCase, end_offset: int) -> dg.WeeklyPartitionsDefinition:
    monday = use_case.start + timedelta(days=-use_case.start.weekday() % 7)
    return dg.WeeklyPartitionsDefinition(
        start_date=monday.isoformat(),
        end_date=use_case.end.isoformat() if use_case.end else None,
        day_offset=1,
        timezone=use_case.timezone,
        end_offset=end_offset if use_case.end is None else 0,
    )
