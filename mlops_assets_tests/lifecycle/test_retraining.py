"""One failed check, one decision, one training: whatever is killed, and whenever."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import dagster as dg
import pandas as pd
import pytest

from mlops_assets import decisions, ledger
from mlops_assets.lifecycle import controller, lifecycle
from mlops_assets.lifecycle.assets import key
from mlops_assets.lifecycle.controller import ATTEMPT_TAG, DECISION_TAG, Controller, Cursor
from mlops_assets.use_cases import Retraining
from mlops_assets_tests.lifecycle import history
from mlops_assets_tests.lifecycle.conftest import resources
from mlops_assets_tests.toy import TOY, variant
from resources.delta import PARTITION, DeltaStore

WEEK, NEXT_WEEK = "2024-02-12", "2024-02-19"
"""The week that is watched, and the Monday on which that is done."""
NOW = datetime(2024, 2, 19, 6, tzinfo=UTC)
RAN = dg.DagsterRunStatus


class Killed(BaseException):
    """The daemon dies."""


class Daemon:
    """Ticks the controller as the Dagster daemon ticks a sensor, and can be killed on the way."""

    def __init__(self, root, instance, use_case=TOY):
        self.use_case, self.instance, self.now = use_case, instance, NOW
        self.tables = DeltaStore(str(root / "tables"))
        self.cursor = None

    def store(self, until: str = "2024-02-18", labels_until: str = "2024-02-17") -> Daemon:
        """Features and labels up to a day, and a champion of two weeks ago."""
        for name, last in (("features", until), ("labels", labels_until)):
            days = [f"{day:%Y-%m-%d}" for day in pd.date_range("2024-01-01", last)]
            frame = pd.DataFrame({PARTITION: days, "parcel": days})
            self.tables.overwrite(f"{self.use_case.name}/{name}", frame, days)
        self.promote("2024-02-05", "by hand")
        return self

    def promote(self, week: str, run_id: str) -> None:
        entry = ledger.Entry(
            action="promote",
            effective_at=self.use_case.calendar.week(week)[0],
            as_of=week,
            model_version=week,
            model_sha256="",
            gate_sha256="",
            decided_at=self.now,
            reason="told",
            by=f"Dagster run {run_id}",
        )
        ledger.record(self.tables, self.use_case, entry)

    def found(
        self, asset: str, week: str = WEEK, *, passed: bool = False, run_id: str | None = None
    ) -> None:
        """A week was watched."""
        run_id = run_id or history.run(self.instance)
        check = dg.AssetCheckKey(key(self.use_case, asset), asset)
        history.evaluated(self.instance, check, week, run_id, passed=passed)

    def tick(self, killed: str = "") -> list[dg.RunRequest]:
        """One tick; returns the runs it started."""
        tick = Controller(self.use_case, self.instance, self.tables, self.now).tick
        result = tick(Cursor.of(self.cursor))
        _kill(killed == "after the decision")
        for event in result.asset_events:
            self.instance.report_runless_asset_event(event)
        _kill(killed == "after telling")
        started = [asked for asked in result.run_requests or [] if self.submit(asked)]
        _kill(killed == "after submitting")
        self.cursor = result.cursor
        return started

    def submit(self, asked: dg.RunRequest) -> bool:
        """Start a run unless one of that key was started before."""
        tags = {**asked.tags, "dagster/run_key": asked.run_key}
        if self.instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": asked.run_key})):
            return False
        history.run(
            self.instance,
            RAN.STARTED,
            f"{self.use_case.name}_train",
            tags={**tags, "dagster/partition": asked.partition_key},
        )
        return True

    def trainings(self) -> list[dg.DagsterRun]:
        return self.instance.get_runs(dg.RunsFilter(job_name=f"{self.use_case.name}_train"))

    def end(self, status: dg.DagsterRunStatus = RAN.SUCCESS) -> dg.DagsterRun:
        """The latest training ends."""
        run = self.trainings()[0]
        kinds = {
            RAN.SUCCESS: dg.DagsterEventType.RUN_SUCCESS,
            RAN.FAILURE: dg.DagsterEventType.RUN_FAILURE,
            RAN.CANCELED: dg.DagsterEventType.RUN_CANCELED,
        }
        history.end(self.instance, run.run_id, kinds[status])
        return run

    @property
    def records(self) -> list[decisions.Record]:
        return decisions.recent(self.tables, self.use_case)

    @property
    def record(self) -> decisions.Record:
        (only,) = self.records
        return only

    def shown(self) -> Counter:
        """What the asset's page shows: decision and progress."""
        found = self.instance.fetch_materializations(key(self.use_case, "retraining"), limit=100)
        facts = [record.asset_materialization.metadata for record in found.records]
        return Counter((fact["id"].value, fact["progress"].value) for fact in facts)

    def check_passes(self) -> bool:
        check = dg.AssetCheckKey(key(self.use_case, "retraining"), "retrain_succeeds")
        storage = self.instance.event_log_storage
        return storage.get_asset_check_execution_history(check, 1)[0].evaluation.passed


def _kill(now: bool) -> None:
    if now:
        raise Killed


@pytest.fixture
def instance(tmp_path):
    """On disk, as Dagster does it by default: what is read by cursors differs from memory."""
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        yield instance


@pytest.fixture
def daemon(tmp_path, instance):
    return Daemon(tmp_path, instance).store()


@pytest.mark.parametrize("check", ["drift", "performance"])
def test_a_failed_check_leads_to_one_training(daemon, check):
    daemon.found(check)
    (asked,) = daemon.tick()
    assert daemon.record.cause == check
    assert asked.partition_key == daemon.record.as_of == NEXT_WEEK
    assert asked.tags[DECISION_TAG] == daemon.record.id
    assert [daemon.tick() for _ in range(3)] == [[], [], []]
    assert daemon.shown() == {(daemon.record.id, "retraining"): 1}


def test_a_passed_check_leads_to_nothing(daemon):
    daemon.found("drift", passed=True)
    assert daemon.tick() == []
    assert daemon.records == []


def test_two_checks_of_a_week_are_one_reason(daemon):
    daemon.found("drift")
    daemon.found("performance")
    assert len(daemon.tick()) == 1
    assert [found.decision for found in daemon.records] == ["retrain", "skip"]
    assert "same cause" in daemon.records[1].reason


@pytest.mark.parametrize(
    "moment", ["after the decision", "after telling", "after submitting", "nowhere"]
)
def test_a_killed_daemon_neither_loses_nor_repeats(daemon, moment):
    daemon.found("drift")
    daemon.found("performance")
    if moment != "nowhere":
        with pytest.raises(Killed):
            daemon.tick(killed=moment)
    for _ in range(3):
        daemon.tick()
    assert [found.decision for found in daemon.records] == ["retrain", "skip"]
    assert len(daemon.trainings()) == 1
    assert set(daemon.shown().values()) == {1}
    assert len(daemon.shown()) == 2


@pytest.mark.parametrize("write", [1, 2, 3])
@pytest.mark.parametrize("before", [True, False])
def test_a_write_of_the_ledger_may_be_the_last_thing_done(daemon, monkeypatch, write, before):
    """Decisions and outcomes: three writes, each killed before or after it took effect."""
    writes = []
    real = DeltaStore.overwrite

    def overwrite(self, *args):
        writes.append(args)
        _kill(before and len(writes) == write)
        version = real(self, *args)
        _kill(not before and len(writes) == write)
        return version

    def operate():
        daemon.tick()
        daemon.end()
        daemon.tick()

    daemon.found("drift")
    daemon.found("performance")
    with monkeypatch.context() as patch:
        patch.setattr(DeltaStore, "overwrite", overwrite)
        with pytest.raises(Killed):
            operate()
    daemon.tick()
    if daemon.trainings()[0].status == RAN.STARTED:
        daemon.end()
    daemon.tick()
    assert [found.progress for found in daemon.records] == ["kept", "skipped"]
    assert len(daemon.trainings()) == 1
    assert set(daemon.shown().values()) == {1}


def test_a_run_that_was_created_but_never_launched_is_asked_for_again(daemon):
    daemon.found("drift")
    sensor = Controller(TOY, daemon.instance, daemon.tables, NOW)
    (asked,) = sensor.tick(Cursor()).run_requests
    history.run(daemon.instance, RAN.NOT_STARTED, "parcels_train", tags=asked.tags)
    (again,) = sensor.tick(Cursor()).run_requests
    assert again.run_key == asked.run_key, "Dagster launches the run that it finds under this key"


def test_an_evaluation_counts_once_its_run_has_ended(daemon):
    run_id = history.run(daemon.instance, RAN.STARTED)
    daemon.found("drift", run_id=run_id)
    assert daemon.tick() == []
    assert daemon.records == []
    history.end(daemon.instance, run_id, dg.DagsterEventType.RUN_SUCCESS)
    assert len(daemon.tick()) == 1


def test_an_evaluation_that_overtakes_another_does_not_hide_it(daemon):
    """The id of an evaluation is given when it is planned, not when it is made."""
    slow = history.run(daemon.instance, RAN.STARTED)
    check = dg.AssetCheckKey(key(TOY, "drift"), "drift")
    history.planned(daemon.instance, check, WEEK, slow)
    daemon.found("drift", "2024-02-05", passed=True)
    daemon.tick()
    daemon.found("drift", WEEK, run_id=slow)
    history.end(daemon.instance, slow, dg.DagsterEventType.RUN_SUCCESS)
    assert len(daemon.tick()) == 1


def test_an_evaluation_that_was_never_made_holds_nothing_up(daemon):
    dead = history.run(daemon.instance, RAN.FAILURE)
    history.planned(daemon.instance, dg.AssetCheckKey(key(TOY, "drift"), "drift"), WEEK, dead)
    daemon.tick()
    assert Cursor.of(daemon.cursor).checks["drift"] > 0
    daemon.found("drift")
    assert len(daemon.tick()) == 1


def test_no_evaluation_is_lost_in_a_crowd(daemon, monkeypatch):
    monkeypatch.setattr(controller, "PAGE", 5)
    daemon.tick()
    for n in range(12):
        daemon.found("drift", f"2023-01-{n + 1:02}")
    daemon.tick()
    assert len(daemon.records) == 12
    assert {found.decision for found in daemon.records} == {"skip"}, "the champion knows them"


def test_a_check_that_passed_when_asked_again_is_no_reason(daemon):
    daemon.found("drift")
    daemon.found("drift", passed=True)
    assert daemon.tick() == []
    assert daemon.record.reason.startswith("recovered")


def test_an_idle_tick_reads_no_history(daemon, monkeypatch):
    daemon.found("drift", passed=True)
    daemon.tick()

    def read(*_, **__):
        raise AssertionError("history was read")

    monkeypatch.setattr(DeltaStore, "read", read)
    monkeypatch.setattr(
        type(daemon.instance.event_log_storage), "get_asset_check_execution_history", read
    )
    assert daemon.tick() == []


def test_nothing_is_trained_on_immature_labels(tmp_path, instance):
    daemon = Daemon(tmp_path, instance).store(labels_until="2024-01-20")
    daemon.found("drift")
    assert daemon.tick() == []
    assert daemon.record.reason.startswith("labels not matured: known until 2024-01-21")


def test_it_trains_as_of_the_data_that_are_there(tmp_path, instance):
    daemon = Daemon(tmp_path, instance).store()
    daemon.now = datetime(2026, 1, 1, tzinfo=UTC)
    daemon.found("drift")
    assert [asked.partition_key for asked in daemon.tick()] == [NEXT_WEEK]


def test_a_promotion_closes_the_decision(daemon):
    daemon.found("drift")
    daemon.tick()
    run = daemon.end()
    daemon.promote(NEXT_WEEK, run.run_id)
    daemon.tick()
    assert daemon.record.progress == "promoted"
    assert daemon.record.run_id == run.run_id
    assert daemon.check_passes()


def test_a_refused_candidate_closes_it_and_is_not_tried_again(daemon):
    daemon.found("drift")
    daemon.tick()
    run = daemon.trainings()[0]
    gate = dg.AssetCheckKey(key(TOY, "evaluation"), "log_loss_vs_champion")
    history.evaluated(daemon.instance, gate, NEXT_WEEK, run.run_id, passed=False, blocking=True)
    daemon.end(RAN.FAILURE)
    assert daemon.tick() == []
    assert daemon.record.progress == "kept"
    assert "log_loss_vs_champion failed" in daemon.record.outcome
    assert daemon.check_passes()


def test_a_failed_training_is_tried_again_and_then_raised(daemon):
    daemon.found("drift")
    attempts = []
    while asked := daemon.tick():
        attempts += [int(one.tags[ATTEMPT_TAG]) for one in asked]
        daemon.end(RAN.FAILURE)
    assert attempts == [1, 2, 3]
    assert daemon.record.progress == "failed"
    assert daemon.record.attempts == 3
    assert not daemon.check_passes()
    assert daemon.tick() == []


def test_a_failure_is_remembered_until_a_training_works(daemon):
    daemon.found("drift")
    while daemon.tick():
        daemon.end(RAN.FAILURE)
    daemon.now += timedelta(days=2)
    daemon.found("performance")
    assert len(daemon.tick()) == 1, "what failed is no training that knows the week"
    assert not daemon.check_passes()
    daemon.end()
    daemon.tick()
    assert daemon.check_passes()


def test_a_cancelled_training_is_let_go(daemon):
    daemon.found("drift")
    daemon.tick()
    daemon.end(RAN.CANCELED)
    assert daemon.tick() == []
    assert daemon.record.progress == "cancelled"


def test_a_training_by_hand_is_written_down_and_followed(daemon):
    tags = {"dagster/partition": NEXT_WEEK}
    history.run(daemon.instance, RAN.STARTED, "parcels_train", tags=tags)
    daemon.found("drift")
    assert daemon.tick() == [], "one is in flight already"
    assert {found.cause: found.decision for found in daemon.records} == {
        "manual": "retrain",
        "drift": "skip",
    }
    run = daemon.end()
    daemon.promote(NEXT_WEEK, run.run_id)
    daemon.tick()
    assert {found.progress for found in daemon.records} == {"promoted", "skipped"}


def test_what_has_ended_does_not_stand_in_the_way(daemon):
    """All at once, as when a sensor is switched on after work was done by hand."""
    history.run(daemon.instance, job="parcels_train", tags={"dagster/partition": "2024-02-05"})
    daemon.found("drift")
    assert len(daemon.tick()) == 1
    assert {found.cause: found.progress for found in daemon.records} == {
        "manual": "kept",
        "drift": "retraining",
    }


def test_assets_materialised_by_hand_are_a_training_too(daemon):
    candidate = frozenset({key(TOY, "candidate")})
    tags = {"dagster/partition": NEXT_WEEK}
    history.run(daemon.instance, job="__ASSET_JOB", tags=tags, asset_selection=candidate)
    history.run(daemon.instance, job="__ASSET_JOB", tags=tags, asset_selection=frozenset())
    daemon.tick()
    assert daemon.record.progress == "kept"
    assert daemon.record.outcome == "a model was trained, not promoted"


def test_a_wish_goes_through_the_ledger(operator):
    """The asset is materialised by hand; the sensor decides and trains."""
    daemon = Daemon(operator.root, operator.instance).store()
    assert operator.materialize(["retraining"]).success
    assert daemon.record.progress == "requested"
    (asked,) = daemon.tick()
    assert (daemon.record.cause, daemon.record.decision) == ("manual", "retrain")
    assert asked.partition_key == NEXT_WEEK
    assert daemon.shown() == {
        (daemon.record.id, "requested"): 1,
        (daemon.record.id, "retraining"): 1,
    }


def test_age_alone_is_a_reason(tmp_path, instance):
    aging = variant("aging", retraining=Retraining(max_age=timedelta(weeks=2)))
    daemon = Daemon(tmp_path, instance, aging).store()
    daemon.found("drift", passed=True)
    assert len(daemon.tick()) == 1
    assert daemon.record.cause == "age"


def test_the_sensor_asks_dagster_for_the_run(tmp_path, instance):
    """The real sensor with its resources, as the daemon calls it."""
    daemon = Daemon(tmp_path, instance).store()
    daemon.found("drift")
    bound = resources(tmp_path)
    defs = dg.Definitions.merge(lifecycle(TOY), dg.Definitions(resources=bound))
    sensor = defs.resolve_sensor_def("parcels_retraining")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    context = dg.build_sensor_context(
        instance, definitions=defs, resources={name: bound[name] for name in ("tables", "clock")}
    )
    result = sensor.evaluate_tick(context)
    (asked,) = result.run_requests
    assert asked.partition_key == NEXT_WEEK
    assert sensor.job_name == "parcels_train"
    assert Cursor.of(result.cursor).in_flight
