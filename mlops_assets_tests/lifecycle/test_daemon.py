"""The loop, closed by the real dagster-daemon: nobody touches it once the week was watched."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from mlops_assets import decisions, ledger
from mlops_assets.lifecycle.controller import DECISION_TAG
from mlops_assets.operations import runs
from mlops_assets_tests.lifecycle import drifting
from resources.delta import DeltaStore
from resources.home import home

USE_CASE = drifting.USE_CASE
WORKSPACE = Path(__file__).parents[2] / "workspace.yaml"
WEEK, NEXT_WEEK = "2024-02-05", "2024-02-12"
PATIENCE = 400


@pytest.fixture
def instance(tmp_path, monkeypatch):
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.setenv("MLOPS_USE_CASES", drifting.__name__)
    with runs.instance() as instance:
        yield instance


def live_through_a_drifted_week(instance: dg.DagsterInstance) -> None:
    """Train as of a Monday; the parcels of the week after it are another sort."""
    from mlops_assets.definitions import definitions

    defs = definitions([USE_CASE])
    days = USE_CASE.calendar.keys(*map(_midnight, ("2024-01-01", NEXT_WEEK)))
    plan = (("ingest", days), ("train", [WEEK]), ("predict", days[-7:]), ("monitor", [WEEK]))
    for job, partitions in plan:
        name = f"{USE_CASE.name}_{job}"
        outcome = runs.run(defs, name, partitions, instance=instance, title=name)
        assert outcome.success, outcome.failures
    assert "drift" in {found.check_name for found in outcome.failed_checks}


def _midnight(day: str):
    return USE_CASE.calendar.interval(day)[0]


@contextmanager
def dagster_daemon(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "dagster._daemon", "run", "--workspace", str(WORKSPACE)]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as daemon,
    ):
        try:
            yield daemon
        finally:
            daemon.terminate()


def wait_for_the_outcome(log: Path) -> decisions.Record:
    """The retraining, once it has ended."""
    tables, until = DeltaStore(str(home("tables"))), time.monotonic() + PATIENCE
    while time.monotonic() < until:
        for record in decisions.recent(tables, USE_CASE):
            if record.cause == "drift" and not record.in_flight:
                return record
        time.sleep(2)
    raise AssertionError(f"no decision was carried out:\n{log.read_text()[-5000:]}")


@pytest.mark.daemon
def test_a_failed_drift_check_leads_to_a_training_untouched_by_hand(instance, tmp_path):
    live_through_a_drifted_week(instance)
    log = tmp_path / "daemon.log"
    with dagster_daemon(log):
        record = wait_for_the_outcome(log)
    assert (record.decision, record.as_of) == ("retrain", NEXT_WEEK)
    assert record.progress in ("promoted", "kept"), record.outcome
    trainings = instance.get_runs(dg.RunsFilter(tags={DECISION_TAG: record.id}))
    assert [run.run_id for run in trainings] == [record.run_id]
    entries = ledger.entries(DeltaStore(str(home("tables"))), USE_CASE)
    promoted = {entry.as_of for entry in entries}
    assert promoted == ({WEEK, NEXT_WEEK} if record.progress == "promoted" else {WEEK})
