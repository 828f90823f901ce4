"""The ledger of retraining decisions: to retrain or why not, and what became of it.

One row a decision, each in a partition of its own, so that writing a decision again changes
nothing and no two writers meet. Whoever operates a model (the sensor, a replay) decides through
`decide`, one decision at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from mlops_assets import ledger
from mlops_assets.ml import policy
from mlops_assets.ml.calendar import WEEK
from mlops_assets.ml.policy import Cause, CauseKind, State
from resources.delta import PARTITION, DeltaStore

if TYPE_CHECKING:
    from mlops_assets.use_cases import UseCase

__all__ = [
    "Cause",
    "Record",
    "adopt",
    "close",
    "decide",
    "find",
    "overdue",
    "recent",
    "request",
    "retraining_works",
    "state",
    "version",
    "wish",
]

RECENT = 120
"""Decisions that are looked at: a year of two a week, so that no read grows for ever."""
DAY = timedelta(days=1)

Progress = Literal["requested", "skipped", "retraining", "promoted", "kept", "cancelled", "failed"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """A decision and what became of it.

    `progress` is `requested` until somebody decides; `skipped`; `retraining` until the training has
    ended, and then `promoted` (another champion), `kept` (the champion stays: the gate refused the
    candidate, say), `cancelled` by a person, or `failed` in all attempts.
    """

    id: str
    cause: CauseKind
    text: str
    """What was found or wished."""
    week: str
    """The week that was watched, if any."""
    arose_at: datetime
    decision: Literal["retrain", "skip", ""]
    reason: str
    as_of: str
    """The week as of which to train; empty where there is none."""
    decided_at: datetime
    progress: Progress
    outcome: str = ""
    """What became of the retraining, for people."""
    run_id: str = ""
    attempts: int = 0

    @property
    def in_flight(self) -> bool:
        return self.progress == "retraining"


def recent(tables: DeltaStore, use_case: UseCase) -> list[Record]:
    """The latest decisions, in the order in which their causes arose."""
    names = sorted(tables.partitions(_table(use_case)))[-RECENT:]
    return _read(tables, use_case, names) if names else []


def find(tables: DeltaStore, use_case: UseCase, id: str) -> Record | None:  # noqa: A002
    """A decision by its id; None where it was never taken."""
    if id not in tables.partitions(_table(use_case)):
        return None
    return _read(tables, use_case, [id])[0]


def version(tables: DeltaStore, use_case: UseCase) -> int:
    """Changes whenever the ledger does; -1 while there is none."""
    name = _table(use_case)
    return tables.version(name) if tables.exists(name) else -1


def decide(tables: DeltaStore, use_case: UseCase, cause: Cause, now: datetime) -> Record:
    """Let the policy decide about a cause and write that down; a cause is decided about once.

    What `retrain` asks for is to be done by the caller, who tells the outcome to `close`.
    """
    known = find(tables, use_case, cause.id)
    if known is not None and known.progress != "requested":
        return known
    decision = policy.decide(cause, state(tables, use_case, now), use_case.retraining)
    record = replace(
        _undecided(cause),
        decision=decision.decision,
        reason=decision.reason,
        as_of=use_case.calendar.week_key(decision.as_of) if decision.as_of else "",
        decided_at=now,
        progress="retraining" if decision.decision == "retrain" else "skipped",
    )
    return _write(tables, use_case, record)


def request(tables: DeltaStore, use_case: UseCase, cause: Cause) -> Record:
    """Write down a wish, about which whoever operates the model decides next."""
    known = find(tables, use_case, cause.id)
    return known or _write(tables, use_case, _undecided(cause))


def wish(record: Record) -> Cause:
    """The cause of a requested decision."""
    return Cause(id=record.id, kind=record.cause, at=record.arose_at, text=record.text)


def adopt(
    tables: DeltaStore, use_case: UseCase, cause: Cause, as_of: str, run_id: str, now: datetime
) -> Record:
    """Write down a training that somebody has started without asking."""
    known = find(tables, use_case, cause.id)
    record = replace(
        _undecided(cause),
        decision="retrain",
        reason=cause.text,
        as_of=as_of,
        decided_at=now,
        progress="retraining",
        run_id=run_id,
        attempts=1,
    )
    return known or _write(tables, use_case, record)


def close(
    tables: DeltaStore,
    use_case: UseCase,
    record: Record,
    progress: Literal["promoted", "kept", "cancelled", "failed"],
    outcome: str,
    *,
    run_id: str,
    attempts: int = 1,
) -> Record:
    """Write down what became of a retraining."""
    return _write(
        tables,
        use_case,
        replace(record, progress=progress, outcome=outcome, run_id=run_id, attempts=attempts),
    )


def retraining_works(records: Sequence[Record]) -> tuple[bool, str]:
    """Whether the last retraining that ran to its end did what it should, and words for it."""
    ended = [found for found in records if found.progress in ("promoted", "kept", "failed")]
    if not ended:
        return True, "no retraining has ended yet"
    last = ended[-1]
    return last.progress != "failed", f"{last.id}, as of {last.as_of}: {last.outcome}"


def overdue(tables: DeltaStore, use_case: UseCase, now: datetime) -> bool:
    """Whether it is time for a training although nothing failed."""
    return policy.overdue(state(tables, use_case, now), use_case.retraining)


def state(tables: DeltaStore, use_case: UseCase, now: datetime) -> State:
    """What is known at this moment."""
    records, changes = recent(tables, use_case), ledger.entries(tables, use_case)
    as_of = _trainable(tables, use_case, now)
    champion = ledger.champion_at(changes, now)
    step = use_case.calendar.step
    return State(
        as_of=as_of,
        labels_until=_newest(tables, use_case, "labels"),
        # A row of the last partition matures up to a step later than the partition's first one.
        labels_needed=as_of - use_case.label_delay - step if as_of else None,
        trained_as_of=_trained_as_of(use_case, changes, records),
        champion_as_of=use_case.calendar.week(champion.as_of)[0] if champion else None,
        in_flight=next((found.id for found in records if found.in_flight), None),
        started_today=sum(
            found.decision == "retrain"
            and found.cause in policy.AUTOMATIC
            and now - DAY < found.decided_at <= now
            for found in records
        ),
    )


def _trainable(tables: DeltaStore, use_case: UseCase, now: datetime) -> datetime | None:
    """The latest Monday that has come and before which there are data."""
    newest = _newest(tables, use_case, "features")
    if newest is None:
        return None
    calendar, moment = use_case.calendar, timedelta(microseconds=1)
    mondays = [
        calendar.week(calendar.week_key(now))[0],
        calendar.week(calendar.week_key(newest - moment))[1],
    ]
    if use_case.end is not None:
        # The last whole week of the data is the last there is a partition for.
        mondays.append(calendar.week(calendar.week_key(calendar.midnight(use_case.end) - WEEK))[0])
    first = min(mondays)
    return first if first >= calendar.midnight(use_case.start) else None


def _newest(tables: DeltaStore, use_case: UseCase, asset: str) -> datetime | None:
    """The end of an asset's newest partition."""
    stored = tables.partitions(f"{use_case.name}/{asset}")
    return use_case.calendar.interval(max(stored))[1] if stored else None


def _trained_as_of(
    use_case: UseCase, changes: Sequence[ledger.Entry], records: Sequence[Record]
) -> datetime | None:
    """Of the latest training that has not failed."""
    weeks = [entry.as_of for entry in changes]
    weeks += [
        found.as_of for found in records if found.progress in ("retraining", "promoted", "kept")
    ]
    return use_case.calendar.week(max(weeks))[0] if weeks else None


def _undecided(cause: Cause) -> Record:
    return Record(
        id=cause.id,
        cause=cause.kind,
        text=cause.text,
        week=cause.week,
        arose_at=cause.at,
        decision="",
        reason="",
        as_of="",
        decided_at=cause.at,
        progress="requested",
    )


def _read(tables: DeltaStore, use_case: UseCase, names: Sequence[str]) -> list[Record]:
    frame = tables.read(_table(use_case), names, [field.name for field in fields(Record)])
    rows = frame.sort_values("id").to_dict("records")
    return [Record(**{str(name): value for name, value in row.items()}) for row in rows]


def _write(tables: DeltaStore, use_case: UseCase, record: Record) -> Record:
    import pandas as pd

    frame = pd.DataFrame([asdict(record) | {PARTITION: record.id}])
    for name in ("arose_at", "decided_at"):
        frame[name] = pd.to_datetime(frame[name], utc=True).astype("datetime64[us, UTC]")
    tables.overwrite(_table(use_case), frame, [record.id])
    return record


def _table(use_case: UseCase) -> str:
    return f"{use_case.name}/retraining"
