"""Data flow by themselves: evaluated as the daemon does, with the outcome of runs told to Dagster."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from mlops_assets.lifecycle import lifecycle
from mlops_assets.lifecycle.assets import key
from mlops_assets_tests.lifecycle import history
from mlops_assets_tests.lifecycle.conftest import resources
from mlops_assets_tests.toy import variant

LIVE = variant("live_parcels", end=None)
ARCHIVE = variant("old_parcels")
DAILY = ("dataset", "features", "labels", "predictions")
TUESDAY = datetime(2024, 3, 5, 0, 5, tzinfo=UTC)
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
        """All days before `until` have been through, with a champion of six weeks ago."""
        days = self.use_case.calendar.keys(until - 20 * DAY, until)
        for asset in DAILY:
            self.ran(asset, days[:-1] if asset == "labels" else days)
        self.ran("champion", ["2024-01-22"])


ALL = (*DAILY, "training_set", "candidate", "evaluation", "champion", "service", "drift",
       "performance", "retraining")  # fmt: skip


@pytest.fixture
def daemon(tmp_path):
    with dg.DagsterInstance.ephemeral() as instance:
        daemon = Daemon(LIVE, instance, tmp_path)
        daemon.past(datetime(2024, 3, 4, tzinfo=UTC))
        daemon.ran("drift", ["2024-02-19"])
        daemon.ran("performance", ["2024-02-19"])
        daemon.ran("drift", ["2024-02-26"])
        assert daemon.tick(TUESDAY - DAY) == {}
        yield daemon


def settle(daemon: Daemon, now: datetime, failed: str | None = None) -> list[dict[str, set[str]]]:
    """Tick and run until nothing is asked for any more."""
    ticks = []
    while asked := daemon.tick(now + timedelta(seconds=30) * len(ticks)):
        ticks.append(asked)
        assert len(ticks) < 10
        for asset in ALL:
            daemon.ran(asset, asked.get(asset, ()), failed)
    return ticks


def test_a_new_day(daemon):
    for n in range(4):
        print(n, daemon.tick(TUESDAY + timedelta(seconds=30) * n))


def test_settle(daemon):
    for t in settle(daemon, TUESDAY):
        print(t)
    print("next day")
    for t in settle(daemon, TUESDAY + DAY):
        print(t)
