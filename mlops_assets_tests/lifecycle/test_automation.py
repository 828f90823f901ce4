"""Data flow by themselves: evaluated as the daemon does, with runs that are only told of."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import dagster as dg
import pandas as pd
import pytest

from mlops_assets.lifecycle import lifecycle
from mlops_assets.lifecycle.assets import key
from mlops_assets_tests.lifecycle import history
from mlops_assets_tests.lifecycle.conftest import resources
from mlops_assets_tests.toy import TOY, variant

LIVE = variant("live_parcels", end=None)
ARCHIVE = variant("old_parcels")
DAILY = ("dataset", "features", "labels", "predictions")
TRAINED = ("training_set", "candidate", "evaluation", "champion", "service", "retraining")
ALL = (*DAILY, *TRAINED, "drift", "performance")
DAY = timedelta(days=1)


class Daemon:
    """Evaluates a use case's conditions tick by tick, and pretends to run what is requested."""

    def __init__(self, use_case, instance, root):
        self.use_case, self.instance = use_case, instance
        self.defs = dg.Definitions.merge(
            lifecycle(use_case), dg.Definitions(resources=resources(root))
        )
        self.graph = self.defs.resolve_asset_graph()
        self.cursor = None

    def tick(self, now: datetime) -> dict[str, set[str]]:
        """What is requested: partitions by asset."""
        result = dg.evaluate_automation_conditions(
            self.defs, self.instance, evaluation_time=now, cursor=self.cursor
        )
        self.cursor = result.cursor
        found = {asset: result.get_requested_partitions(key(self.use_case, asset)) for asset in ALL}
        return {asset: set(partitions) for asset, partitions in found.items() if partitions}

    def ran(self, asset: str, partitions: Iterable[str], failed: str | None = None) -> None:
        """The partitions were materialised, and all checks but `failed` have passed."""
        for partition in partitions:
            run_id = history.run(self.instance)
            history.materialized(self.instance, key(self.use_case, asset), partition, run_id)
            for check in self.graph.get(key(self.use_case, asset)).check_keys:
                history.evaluated(
                    self.instance,
                    check,
                    partition,
                    run_id,
                    passed=check.name != failed,
                    blocking=self.graph.get(check).blocking,
                )

    def past(self, until: datetime) -> None:
        """All that was due has been done by `until`, by a champion of six weeks before."""
        calendar = self.use_case.calendar
        days = calendar.keys(until - 20 * DAY, until)
        for asset in DAILY:
            self.ran(asset, days[:-1] if asset == "labels" else days)
        self.ran("champion", [calendar.week_key(until - timedelta(weeks=6))])
        this_week = calendar.week(calendar.week_key(until))[0]
        for asset, weeks_ago in (("drift", 1), ("performance", 2)):
            self.ran(asset, [calendar.week_key(this_week - timedelta(weeks=weeks_ago))])

    def settle(self, now: datetime, failed: str | None = None) -> dict[str, list[str]]:
        """Tick and run what is requested until nothing is; returns all that was, in order."""
        requested: dict[str, list[str]] = {}
        for n in range(10):
            asked = self.tick(now + n * timedelta(seconds=30))
            if not asked:
                return requested
            for asset in ALL:
                partitions = sorted(asked.get(asset, ()))
                requested.setdefault(asset, []).extend(partitions)
                self.ran(asset, partitions, failed)
        raise AssertionError(f"there is no end of requests: {requested}")


MONDAY = datetime(2024, 3, 4, 0, 1, tzinfo=UTC)


@pytest.fixture
def daemon(tmp_path):
    """Switched on at the beginning of a Monday, once all was done by hand."""
    with dg.DagsterInstance.ephemeral() as instance:
        daemon = Daemon(LIVE, instance, tmp_path)
        daemon.past(MONDAY.replace(minute=0))
        assert daemon.tick(MONDAY) == {}
        yield daemon


def done(requested: dict[str, list[str]]) -> dict[str, list[str]]:
    return {asset: partitions for asset, partitions in requested.items() if partitions}


def test_a_new_day_flows_once(daemon):
    requested = done(daemon.settle(MONDAY + DAY))
    assert requested == {
        "dataset": ["2024-03-03", "2024-03-04"],  # the first again, as its truth is due
        "features": ["2024-03-04"],
        "predictions": ["2024-03-04"],
        "labels": ["2024-03-03"],
        "performance": ["2024-02-26"],  # the last label of the week has matured
    }
    assert daemon.settle(MONDAY + DAY + timedelta(hours=6)) == {}


def test_a_week_flows_and_trains_nothing(daemon):
    days = [daemon.settle(MONDAY + n * DAY) for n in range(1, 9)]
    requested = {asset: [p for day in days for p in day.get(asset, [])] for asset in ALL}
    week = [f"2024-03-{n:02}" for n in range(4, 12)]
    assert requested["features"] == requested["predictions"] == week
    assert requested["labels"] == ["2024-03-03", *week[:-1]]
    assert requested["drift"] == ["2024-03-04"]
    assert requested["performance"] == ["2024-02-26", "2024-03-04"]
    assert not any(requested[asset] for asset in TRAINED)


def test_nothing_flows_past_a_failed_blocking_check(daemon):
    requested = done(daemon.settle(MONDAY + DAY, failed="contract"))
    assert requested["dataset"] == ["2024-03-03", "2024-03-04"]
    refused = daemon.settle(MONDAY + DAY + timedelta(hours=1))
    assert "features" not in refused
    assert daemon.tick(MONDAY + 2 * DAY).get("features") is None, "its history was refused"


def test_what_was_refused_goes_on_once_it_is_mended(daemon):
    daemon.cursor = None
    daemon.tick(MONDAY)
    daemon.tick(MONDAY + DAY)
    daemon.ran("dataset", ["2024-03-03"])
    daemon.ran("dataset", ["2024-03-04"], failed="contract")
    assert daemon.settle(MONDAY + DAY + timedelta(hours=1)).get("features", []) == []
    daemon.ran("dataset", ["2024-03-04"])
    mended = daemon.settle(MONDAY + DAY + timedelta(hours=2))
    assert mended["features"] == mended["predictions"] == ["2024-03-04"]


def test_a_day_refused_in_a_range_is_known(operator):
    """Of a run over a range Dagster itself would know only that something in it failed."""

    def fetch(start: datetime, end: datetime) -> pd.DataFrame:
        rows = TOY.fetch(start, end)
        return rows.assign(weight=rows["weight"].mask(rows["parcel"].str[:8] == "20240105", -1.0))

    operator.use_case = variant("heavy_parcels", fetch=fetch)
    operator.materialize(["dataset"], "2024-01-01", "2024-01-08")
    contract = dg.AssetCheckKey(key(operator.use_case, "dataset"), "contract")
    storage = operator.instance.event_log_storage
    failed = [
        found.partition_key
        for found in storage.get_asset_check_partition_info([contract])
        if found.latest_execution_status.value == "FAILED" and found.is_current
    ]
    assert failed == [None, "2024-01-05"]


def test_labels_wait_for_the_truth(tmp_path):
    late = variant("late_parcels", end=None, label_delay=timedelta(days=3))
    with dg.DagsterInstance.ephemeral() as instance:
        daemon = Daemon(late, instance, tmp_path)
        daemon.past(MONDAY.replace(minute=0))
        daemon.tick(MONDAY)
        requested = [daemon.settle(MONDAY + n * DAY).get("labels", []) for n in range(1, 5)]
    assert requested == [["2024-03-01"], ["2024-03-02"], ["2024-03-03"], ["2024-03-04"]]


def test_a_missing_day_delays_the_watch_to_noon(daemon):
    monday = MONDAY + 7 * DAY
    for n in range(1, 7):
        daemon.settle(MONDAY + n * DAY)
    daemon.ran("dataset", ["2024-03-10"], failed="contract")
    assert daemon.settle(monday).get("drift", []) == []
    assert daemon.settle(monday + timedelta(hours=12)).get("drift") == ["2024-03-04"]


def test_a_daemon_that_was_down_catches_up(daemon):
    requested = daemon.settle(MONDAY + 3 * DAY)
    assert requested["predictions"] == ["2024-03-04", "2024-03-05", "2024-03-06"]
    assert requested["labels"] == ["2024-03-03", "2024-03-04", "2024-03-05"]


def test_no_prediction_without_a_champion(tmp_path):
    with dg.DagsterInstance.ephemeral() as instance:
        daemon = Daemon(LIVE, instance, tmp_path)
        daemon.ran("dataset", LIVE.calendar.keys(MONDAY - 10 * DAY, MONDAY - timedelta(minutes=1)))
        daemon.tick(MONDAY)
        requested = done(daemon.settle(MONDAY + DAY))
    assert requested["features"] == ["2024-03-03", "2024-03-04"]
    assert "predictions" not in requested


def test_data_that_have_ended_ask_for_nothing(tmp_path):
    with dg.DagsterInstance.ephemeral() as instance:
        daemon = Daemon(ARCHIVE, instance, tmp_path)
        daemon.ran("dataset", ["2024-01-01"])
        assert [daemon.tick(MONDAY + n * 365 * DAY) for n in (2, 3)] == [{}, {}]
