"""What runs by itself: new data flow down to monitoring, each partition once.

Training, and all that follows from it, is not automated here but decided about (see `retraining`).
What is already past when automation is switched on, or older than its windows, is for backfills.
"""

from datetime import timedelta
from typing import Any

import dagster as dg
from dagster import AutomationCondition

from mlops_assets.lifecycle.assets import key
from mlops_assets.use_cases import UseCase

Condition = AutomationCondition[Any]

CATCH_UP = timedelta(days=7)
"""How far back new partitions are looked for, should the daemon have been down."""
WEEK = timedelta(weeks=1)
LATEST = "0 12 * * 1"
"""When a week is watched although days are missing."""
INTERVAL = 30


def sensor(use_case: UseCase) -> dg.AutomationConditionSensorDefinition:
    """Evaluates the conditions of a use case's assets."""
    return dg.AutomationConditionSensorDefinition(
        f"{use_case.name}_automation",
        target=dg.AssetSelection.groups(use_case.name),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=INTERVAL,
        description="Lets new data flow: dataset, features, predictions; labels as they mature;"
        " drift and performance week by week.",
    )


def arriving(use_case: UseCase) -> Condition:
    """A new partition; fetched once more when its truth is due, which the source may not know
    before."""
    due = (_matured(use_case) & ~AutomationCondition.missing()).newly_true()
    news = AutomationCondition.newly_missing()
    return (
        AutomationCondition.in_latest_time_window(use_case.label_delay + CATCH_UP)
        & _not_at_first(news | due if use_case.label_delay else news).since_last_handled()
        & ~AutomationCondition.in_progress()
    )


def following(use_case: UseCase) -> Condition:
    """What is missing, once all that it is made of is there and has passed its blocking checks."""
    return (
        AutomationCondition.in_latest_time_window(CATCH_UP)
        & AutomationCondition.missing()
        & _news(use_case)
        & ~AutomationCondition.any_deps_missing().ignore(_champion(use_case))
        & _none_failed(use_case)
        & _idle(use_case)
    )


def predicting(use_case: UseCase) -> Condition:
    """As `following`, from the first champion on. A later one changes no prediction made before."""
    there = AutomationCondition.any_deps_match(~AutomationCondition.missing())
    return following(use_case) & there.allow(_champion(use_case))


def maturing(use_case: UseCase) -> Condition:
    """What the dataset says once the truth is due, and whenever it is fetched again after that."""
    return (
        AutomationCondition.in_latest_time_window(use_case.label_delay + CATCH_UP)
        & _matured(use_case)
        & _news(use_case)
        & ~AutomationCondition.any_deps_missing()
        & _none_failed(use_case)
        & _idle(use_case)
    )


def watching(use_case: UseCase, delay: timedelta = timedelta(0)) -> Condition:
    """A week, once all its days are there; or without those that are refused, when it is time.

    `delay` is how long after the week its last day is expected.
    """
    complete = ~AutomationCondition.any_deps_missing().ignore(_champion(use_case))
    return (
        AutomationCondition.in_latest_time_window(delay + 2 * WEEK)
        & AutomationCondition.missing()
        & _news(use_case)
        & (complete | _time_is_up(use_case, delay) & _some_days(use_case))
        & _none_failed(use_case)
        & _idle(use_case)
    )


def _news(use_case: UseCase) -> Condition:
    """There is a partition, or something new to make it of, since it was last asked for."""
    changed = AutomationCondition.any_deps_updated().ignore(_champion(use_case))
    return (_not_at_first(AutomationCondition.newly_missing()) | changed).since_last_handled()


def _not_at_first(news: Condition) -> Condition:
    """At the first look everything is new."""
    return news & ~AutomationCondition.initial_evaluation()


def _matured(use_case: UseCase) -> Condition:
    """The label delay has passed since the partition ended."""
    if not use_case.label_delay:
        return AutomationCondition.in_latest_time_window(CATCH_UP)
    return ~AutomationCondition.in_latest_time_window(use_case.label_delay)


def _idle(use_case: UseCase) -> Condition:
    busy = AutomationCondition.any_deps_in_progress().ignore(_champion(use_case))
    return ~AutomationCondition.in_progress() & ~busy


def _time_is_up(use_case: UseCase, delay: timedelta) -> Condition:
    if delay:
        return ~AutomationCondition.in_latest_time_window(delay + timedelta(days=1))
    noon = AutomationCondition.cron_tick_passed(LATEST, use_case.timezone)
    return noon.since(AutomationCondition.newly_missing())


def _some_days(use_case: UseCase) -> Condition:
    there = AutomationCondition.any_deps_match(~AutomationCondition.missing())
    return there.allow(dg.AssetSelection.assets(key(use_case, "predictions")))


def _none_failed(use_case: UseCase) -> Condition:
    """No blocking check has failed or is being asked, of any partition that is made use of.

    Dagster's own `all_deps_blocking_checks_passed` is true where *one* of several partitions of a
    dependency has passed, and knows of none that was made in a run over a range.
    """
    bad = AutomationCondition.check_failed() | AutomationCondition.in_progress()
    checked = AutomationCondition.any_checks_match(bad, blocking_only=True)
    return ~AutomationCondition.any_deps_match(checked).ignore(_champion(use_case))


def _champion(use_case: UseCase) -> dg.AssetSelection:
    """Not looked at: a week without a promotion has no partition of it, and is none the worse."""
    return dg.AssetSelection.assets(key(use_case, "champion"))
