"""From failed checks to decisions, and from decisions to trainings: what the sensor does each tick.

It may be killed at any line. What is decided is first written to the ledger, under an id that
follows from the evaluation; only then does the cursor move on. A training is asked for under a key
made of that id and the attempt, which Dagster runs once; how it ended is read from its runs.
Whatever was cut off is found again, and found to be done already, by the next tick.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from textwrap import shorten
from typing import Any, Literal, TypeVar

import dagster as dg
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)
from dagster._core.storage.tags import MAX_RETRIES_TAG, PARENT_RUN_ID_TAG, PARTITION_NAME_TAG

from mlops_assets import decisions, ledger
from mlops_assets.decisions import Record
from mlops_assets.lifecycle.assets import key
from mlops_assets.ml.policy import Cause, CauseKind
from mlops_assets.use_cases import UseCase
from resources.delta import DeltaStore

RETRAINING, SUCCEEDS = "retraining", "retrain_succeeds"
WATCHED: tuple[CauseKind, ...] = ("drift", "performance")
"""Assets with a check of the same name."""
DECIDING = ("training_set", "candidate", "evaluation")
"""Assets whose blocking checks say that no better model was found, which is no failure."""
DECISION_TAG, ATTEMPT_TAG = "mlops/decision", "mlops/attempt"
PAGE = 50
PASSED = AssetCheckExecutionRecordStatus.SUCCEEDED
FAILED = AssetCheckExecutionRecordStatus.FAILED

Row = TypeVar("Row")


@dataclass(frozen=True)
class Cursor:
    """Up to where things are settled: ids of check evaluations and runs, the ledger's version."""

    checks: Mapping[str, int] = field(default_factory=dict)
    run: int | None = None
    ledger: int | None = None
    in_flight: bool = False

    @classmethod
    def of(cls, text: str | None) -> "Cursor":
        return cls(**json.loads(text)) if text else cls()

    def __str__(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Controller:
    """Looks at what happened since a cursor, decides, and says what is to be run."""

    use_case: UseCase
    instance: dg.DagsterInstance
    tables: DeltaStore
    now: datetime

    def tick(self, cursor: Cursor) -> dg.SensorResult:
        """One round. It costs what is new, whatever the length of history."""
        runs, run = self._trainings(cursor.run)
        evaluations, checks = self._evaluations(cursor.checks)
        # Read before the records: what is written meanwhile is looked at by the next tick.
        version = decisions.version(self.tables, self.use_case)
        if not (runs or evaluations or cursor.in_flight) and version == cursor.ledger:
            return dg.SensorResult(cursor=str(Cursor(checks, run, version)))
        for found in runs:
            self._adopt(found)
        self._carry_on()  # what has ended does not stand in the way of what is decided next
        self._decide(evaluations)
        requests = self._carry_on()
        in_flight = bool(self._in_flight())
        return dg.SensorResult(
            run_requests=requests,
            asset_events=list(self._events()),
            cursor=str(Cursor(checks, run, version, in_flight)),
        )

    def _evaluations(
        self, since: Mapping[str, int]
    ) -> tuple[list[AssetCheckExecutionRecord], dict[str, int]]:
        """Evaluations after `since` (by check), the oldest first, and where to go on."""
        found: list[AssetCheckExecutionRecord] = []
        settled: dict[str, int] = {}
        for kind in WATCHED:
            new, settled[kind] = self._evaluations_of(kind, since.get(kind))
            found += new
        return sorted(found, key=lambda record: record.id), settled

    def _evaluations_of(
        self, kind: CauseKind, since: int | None
    ) -> tuple[list[AssetCheckExecutionRecord], int]:
        """Evaluations that are final, and the id up to which all are.

        An evaluation has its id from the moment it is planned, so one that is planned or whose run
        has not ended yet holds the cursor back; those behind it are read again and lead to nothing.
        """
        latest = self._latest(kind)
        if latest is None or latest.id == since:
            return [], since or 0
        storage, check = self.instance.event_log_storage, self._check(kind)
        new = _newer(
            since,
            lambda below: storage.get_asset_check_execution_history(check, PAGE, cursor=below),
            lambda record: record.id,
            lambda record: record.id,
        )
        pending = {record.id for record in new if record.status != PASSED and self._open(record)}
        final = [
            record
            for record in new
            if record.status in (PASSED, FAILED) and record.id not in pending
        ]
        return final, min((number - 1 for number in pending), default=latest.id)

    def _open(self, record: AssetCheckExecutionRecord) -> bool:
        run = self.instance.get_run_by_id(record.run_id) if record.run_id else None
        return run is not None and not run.is_finished

    def _decide(self, evaluations: Sequence[AssetCheckExecutionRecord]) -> None:
        """About wishes, failed checks and, at last, age; one after the other."""
        failed = [record for record in evaluations if record.status == FAILED]
        for cause in [*self._wishes(), *map(self._alarm, failed)]:
            decisions.decide(self.tables, self.use_case, cause, self.now)
        passed = [record for record in evaluations if record.status == PASSED]
        if passed and decisions.overdue(self.tables, self.use_case, self.now):
            decisions.decide(self.tables, self.use_case, self._aged(passed[-1]), self.now)

    def _wishes(self) -> list[Cause]:
        records = decisions.recent(self.tables, self.use_case)
        return [decisions.wish(found) for found in records if found.progress == "requested"]

    def _alarm(self, record: AssetCheckExecutionRecord) -> Cause:
        kind = next(kind for kind in WATCHED if kind == record.key.name)
        evaluation = record.evaluation
        said = (evaluation.description if evaluation else None) or "the check failed"
        latest = self._latest(kind, PartitionKeyFilter(key=record.partition))
        cause = self._cause(kind, record, said)
        return replace(cause, recovered=latest is not None and latest.status == PASSED)

    def _aged(self, record: AssetCheckExecutionRecord) -> Cause:
        return self._cause("age", record, f"{record.key.name} passed, but the model is old")

    def _cause(self, kind: CauseKind, record: AssetCheckExecutionRecord, said: str) -> Cause:
        at = datetime.fromtimestamp(record.create_timestamp, UTC)
        week = record.partition or ""
        return Cause(
            id=cause_id(at, kind, week, record.key.name, record.run_id, record.id),
            kind=kind,
            at=at,
            text=shorten(f"{kind} in the week of {week}: {said}", 500),
            week=week,
            until=self.use_case.calendar.week(week)[1] if week else None,
        )

    def _latest(
        self, kind: CauseKind, partition: PartitionKeyFilter | None = None
    ) -> AssetCheckExecutionRecord | None:
        check = self._check(kind)
        storage = self.instance.event_log_storage
        return storage.get_latest_asset_check_execution_by_key([check], partition).get(check)

    def _check(self, kind: CauseKind) -> dg.AssetCheckKey:
        return dg.AssetCheckKey(key(self.use_case, kind), kind)

    def _carry_on(self) -> list[dg.RunRequest]:
        """See to each retraining that is under way; what is to be run for that."""
        return [asked for record in self._in_flight() if (asked := self._follow(record))]

    def _in_flight(self) -> list[Record]:
        return [found for found in decisions.recent(self.tables, self.use_case) if found.in_flight]

    def _trainings(self, since: int | None) -> tuple[list[dg.RunRecord], int]:
        """Runs after `since` that train a model and that no decision has asked for."""
        new = _newer(
            since,
            lambda below: self.instance.get_run_records(limit=PAGE, cursor=below),
            lambda record: record.storage_id,
            lambda record: record.dagster_run.run_id,
        )
        latest = max((record.storage_id for record in new), default=since or 0)
        return [record for record in new if self._by_hand(record.dagster_run)], latest

    def _by_hand(self, run: dg.DagsterRun) -> bool:
        selected = run.asset_selection or ()
        trains = run.job_name == f"{self.use_case.name}_train" or (
            key(self.use_case, "candidate") in selected
        )
        asked = DECISION_TAG in run.tags and PARENT_RUN_ID_TAG not in run.tags
        return trains and not asked and PARTITION_NAME_TAG in run.tags

    def _adopt(self, found: dg.RunRecord) -> None:
        run, at = found.dagster_run, found.create_timestamp
        week = run.tags[PARTITION_NAME_TAG]
        cause = Cause(
            id=cause_id(at, "manual", week, run.run_id),
            kind="manual",
            at=at,
            text=f"run {run.run_id[:8]} was started by hand",
        )
        decisions.adopt(self.tables, self.use_case, cause, week, run.run_id, self.now)

    def _follow(self, record: Record) -> dg.RunRequest | None:
        """Close a retraining whose run has ended; else what to run, if anything, to go on."""
        run = self._run_of(record)
        if run is None:
            if not record.run_id:
                return _request(record, attempt=1)
            self._close(record, "failed", "its run was deleted", record.run_id)
            return None
        attempt = int(run.tags.get(ATTEMPT_TAG, 1))
        if run.status == dg.DagsterRunStatus.NOT_STARTED and not record.run_id:
            # Created, but perhaps never launched: under the same key Dagster launches it, once.
            return _request(record, attempt)
        if not run.is_finished:
            return None
        return self._ended(record, run, attempt)

    def _run_of(self, record: Record) -> dg.DagsterRun | None:
        """The latest run of a decision."""
        if record.run_id:
            return self.instance.get_run_by_id(record.run_id)
        runs = self.instance.get_runs(dg.RunsFilter(tags={DECISION_TAG: record.id}), limit=PAGE)
        return next((run for run in runs if PARENT_RUN_ID_TAG not in run.tags), None)

    def _ended(self, record: Record, run: dg.DagsterRun, attempt: int) -> dg.RunRequest | None:
        if run.status == dg.DagsterRunStatus.SUCCESS:
            self._close(record, *self._success(record, run), run.run_id, attempt)
        elif run.status == dg.DagsterRunStatus.CANCELED:
            self._close(record, "cancelled", "its run was cancelled", run.run_id, attempt)
        elif refused := self._refused(run):
            self._close(record, "kept", f"the champion stays: {refused}", run.run_id, attempt)
        elif attempt < self.use_case.retraining.attempts and not record.run_id:
            return _request(record, attempt + 1)
        else:
            text = f"failed {attempt} times, last in run {run.run_id[:8]}; see its log"
            self._close(record, "failed", text, run.run_id, attempt)
        return None

    def _success(
        self, record: Record, run: dg.DagsterRun
    ) -> tuple[Literal["promoted", "kept"], str]:
        for entry in ledger.entries(self.tables, self.use_case):
            if entry.as_of == record.as_of and run.run_id in entry.by:
                return "promoted", f"version {entry.model_version}: {entry.reason}"
        return "kept", "a model was trained, not promoted"

    def _refused(self, run: dg.DagsterRun) -> str:
        """The blocking checks on the way to a champion that failed: verdicts, which would recur."""
        logs = self.instance.all_logs(run.run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        found = [
            entry.dagster_event.asset_check_evaluation_data
            for entry in logs
            if entry.dagster_event is not None
        ]
        return "; ".join(
            f"{one.check_name} failed ({one.description})"
            for one in found
            if not one.passed and one.blocking and one.asset_key.path[-1] in DECIDING
        )

    def _close(
        self,
        record: Record,
        progress: Literal["promoted", "kept", "cancelled", "failed"],
        outcome: str,
        run_id: str,
        attempts: int = 1,
    ) -> None:
        decisions.close(
            self.tables,
            self.use_case,
            record,
            progress,
            outcome,
            run_id=run_id,
            attempts=attempts,
        )

    def _events(self) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
        """What the ledger says and Dagster does not show yet."""
        asset = key(self.use_case, RETRAINING)
        records = decisions.recent(self.tables, self.use_case)
        shown = self._shown(asset)
        news = [record for record in records if (record.id, record.progress) not in shown]
        for record in news:
            yield dg.AssetMaterialization(asset, metadata=metadata_of(record))
        if news:
            works, text = decisions.retraining_works(records)
            yield dg.AssetCheckEvaluation(asset, SUCCEEDS, works, metadata={}, description=text)

    def _shown(self, asset: dg.AssetKey) -> set[tuple[str, str]]:
        found = self.instance.fetch_materializations(asset, limit=4 * decisions.RECENT).records
        told = [record.asset_materialization for record in found]
        return {
            (str(one.metadata["id"].value), str(one.metadata["progress"].value))
            for one in told
            if one is not None and "id" in one.metadata
        }


def _newer(
    since: int | None,
    page_below: Callable[[Any], Sequence[Row]],
    number: Callable[[Row], int],
    cursor: Callable[[Row], Any],
) -> list[Row]:
    """Rows whose number is above `since`, the oldest first; without `since`, the last page."""
    found: list[Row] = []
    below = None
    while page := page_below(below):
        new = [row for row in page if since is None or number(row) > since]
        found += new
        if since is None or len(new) < PAGE:
            break
        below = cursor(page[-1])
    return found[::-1]


def _request(record: Record, attempt: int) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=f"{record.id}/{attempt}",
        partition_key=record.as_of,
        # Tries are counted here, so Dagster is not to add its own.
        tags={DECISION_TAG: record.id, ATTEMPT_TAG: str(attempt), MAX_RETRIES_TAG: "0"},
    )


def metadata_of(record: Record) -> dict[str, Any]:
    shown = {name: value for name, value in asdict(record).items() if value not in ("", 0)}
    for name in ("arose_at", "decided_at"):
        shown[name] = dg.MetadataValue.timestamp(getattr(record, name).timestamp())
    if record.run_id:
        shown["run_id"] = dg.MetadataValue.dagster_run(record.run_id)
    return shown


def cause_id(at: datetime, kind: CauseKind, week: str, *unique: object) -> str:
    """Names a cause: sorts by time, and is the same whenever it is asked for."""
    digest = hashlib.sha256(repr((kind, week, *unique)).encode()).hexdigest()[:8]
    return "-".join(filter(None, (f"{at.astimezone(UTC):%Y%m%dT%H%M%S}Z", kind, week, digest)))
