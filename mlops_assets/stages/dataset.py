"""Rows fetched from the source and validated; what breaks the contract goes to quarantine.

A partition that breaks the contract is not overwritten: its earlier good version stays readable,
and the record of the failed intake makes the contract check fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from statistics import median

import pandas as pd

from mlops_assets.ml.calendar import Calendar
from mlops_assets.ml.contract import REASON, validate, violations
from mlops_assets.stages import Stage, Verdict, md_table
from resources.compute.task import TaskResult
from resources.delta import PARTITION, combined, partition_hashes

USUAL_PARTITIONS = 28
STALE_AFTER = 2
ROW = "row"


@dataclass(frozen=True)
class Intake:
    """What the last fetch of one partition brought; `problems` is empty where it was accepted."""

    partition: str
    rows: int
    quarantined: int
    problems: str

    @property
    def accepted(self) -> bool:
        return not self.problems


def run(stage: Stage) -> TaskResult:
    good, bad = _sort_out(stage, _fetch(stage))
    intakes = _judge(stage, good, bad)
    accepted = [intake.partition for intake in intakes if intake.accepted]
    stage.write("quarantine", _quarantined(bad), stage.partitions)
    if accepted:
        stage.write("dataset", good[good[PARTITION].isin(accepted)], accepted)
    # Last, so that no record speaks of rows that are not there.
    frame = pd.DataFrame([asdict(intake) for intake in intakes])
    stage.write("intake", frame, stage.partitions)
    return _result(stage, good, intakes)


def check(stage: Stage) -> list[Verdict]:
    """Whether the last fetch of every partition kept the contract, and how old the data are."""
    frame = stage.tables.read(stage.table("intake"), stage.partitions)
    intakes = [Intake(**row) for row in frame.sort_values(PARTITION).to_dict("records")]
    return [_contract(intakes), _freshness(stage)]


def _fetch(stage: Stage) -> pd.DataFrame:
    """The rows as they came, each with the partition it belongs to."""
    event_time, interval = stage.use_case.event_time, stage.calendar.interval
    start, end = interval(stage.partitions[0])[0], interval(stage.partitions[-1])[1]
    rows = stage.use_case.fetch(start, end).reset_index(drop=True)
    raw = rows[event_time] if event_time in rows else pd.Series(pd.NaT, index=rows.index)
    times = pd.to_datetime(raw, utc=True, errors="coerce", format="ISO8601")
    # Rows without a readable time belong to no partition; the first one reports them.
    keys = _keys(stage.calendar, times, start, end).fillna(stage.partitions[0])
    return rows.assign(**{PARTITION: keys})[keys.isin(stage.partitions)]


def _keys(calendar: Calendar, times: pd.Series, start: datetime, end: datetime) -> pd.Series:
    """The partition of each time; missing before `start` and from `end` on."""
    keys = calendar.keys(start, end)
    edges = [calendar.interval(key)[0].astimezone(UTC) for key in keys] + [end.astimezone(UTC)]
    bins = pd.DatetimeIndex(edges).as_unit("us")
    return pd.cut(times.astype(bins.dtype), bins, right=False, labels=keys).astype(object)


def _sort_out(stage: Stage, rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows that keep the contract and rows that do not."""
    found = validate(rows, stage.use_case.contract, stage.use_case.key)
    good, bad = (
        frame.assign(**{PARTITION: rows.loc[frame.index, PARTITION]})
        for frame in (found.good, found.bad)
    )
    return good, bad


def _judge(stage: Stage, good: pd.DataFrame, bad: pd.DataFrame) -> list[Intake]:
    """Accept or refuse each partition, by its bad rows and by what was usual before it."""
    accepted = _accepted_before(stage)
    counts, bad_rows = good[PARTITION].value_counts(), dict(list(bad.groupby(PARTITION)))
    intakes = []
    for partition in stage.partitions:
        rows, refused = int(counts.get(partition, 0)), bad_rows.get(partition, bad.iloc[:0])
        usual = [n for _, n in accepted[-USUAL_PARTITIONS:]]
        problems = _row_problems(stage, rows, refused) + _volume_problems(stage, rows, usual)
        intakes.append(Intake(partition, rows + len(refused), len(refused), "; ".join(problems)))
        if not problems:
            accepted.append((partition, rows))
    return intakes


def _accepted_before(stage: Stage) -> list[tuple[str, int]]:
    """Accepted partitions before the first of the task, in order, with their good rows."""
    if not stage.tables.exists(stage.table("intake")):
        return []
    frame = stage.tables.read(stage.table("intake")).sort_values(PARTITION)
    frame = frame[(frame[PARTITION] < stage.partitions[0]) & (frame["problems"] == "")]
    return list(zip(frame[PARTITION], frame["rows"] - frame["quarantined"], strict=True))


def _row_problems(stage: Stage, rows: int, refused: pd.DataFrame) -> list[str]:
    if len(refused) <= stage.use_case.tolerance * (rows + len(refused)):
        return []
    return [str(violation) for violation in violations(refused)]


def _volume_problems(stage: Stage, rows: int, usual: Sequence[int]) -> list[str]:
    if rows == 0:
        return ["no good rows"]
    low, high = (factor * median(usual) if usual else rows for factor in stage.use_case.volume)
    if low <= rows <= high:
        return []
    return [f"{rows} good rows, expected {low:.0f} to {high:.0f} by the partitions before"]


def _quarantined(bad: pd.DataFrame) -> pd.DataFrame:
    """Bad rows as they came, each as one JSON text, with the reason."""
    raw = bad.drop(columns=[PARTITION, REASON])
    rows = [row.to_json(date_format="iso", default_handler=str) for _, row in raw.iterrows()]
    columns = {PARTITION: bad[PARTITION], REASON: bad[REASON], ROW: rows}
    return pd.DataFrame(columns, dtype=object).reset_index(drop=True)


def _result(stage: Stage, good: pd.DataFrame, intakes: Sequence[Intake]) -> TaskResult:
    versions = _versions(stage, good, intakes)
    refused = pd.DataFrame([asdict(i) for i in intakes if not i.accepted])
    return TaskResult(
        data_version=combined(versions),
        metadata={
            "columns": md_table(
                pd.DataFrame(
                    [
                        {
                            "column": c.name,
                            "type": c.dtype,
                            "unit": c.unit,
                            "meaning": c.description,
                        }
                        for c in stage.use_case.contract
                    ]
                )
            ),
            **({"refused": md_table(refused)} if len(refused) else {}),
        },
        partitions={
            intake.partition: {
                "data_version": versions[intake.partition],
                "rows": intake.rows - intake.quarantined,
                "quarantined": intake.quarantined,
            }
            for intake in intakes
        },
    )


def _versions(stage: Stage, good: pd.DataFrame, intakes: Sequence[Intake]) -> dict[str, str]:
    """The content hash of every partition as it now stands in the table."""
    kept = {i.partition for i in intakes if not i.accepted} & stage.tables.partitions(
        stage.table("dataset")
    )
    accepted = good[good[PARTITION].isin([i.partition for i in intakes if i.accepted])]
    hashes = partition_hashes(accepted, stage.use_case.key)
    if kept:
        hashes |= partition_hashes(stage.read("dataset", sorted(kept)), stage.use_case.key)
    return {intake.partition: hashes.get(intake.partition, "none") for intake in intakes}


def _contract(intakes: Sequence[Intake]) -> Verdict:
    refused = [intake for intake in intakes if not intake.accepted]
    if not refused:
        quarantined = sum(intake.quarantined for intake in intakes)
        text = f"{len(intakes)} partitions keep the contract; {quarantined} rows in quarantine"
        return Verdict("contract", True, text)
    first = refused[0]
    return Verdict(
        "contract",
        False,
        f"{len(refused)} of {len(intakes)} partitions were refused and keep what they had."
        f" {first.partition}: {first.problems}",
        {"refused": md_table(pd.DataFrame([asdict(intake) for intake in refused]))},
    )


def _freshness(stage: Stage) -> Verdict:
    """Data may lag by two partitions behind the clock, or behind the day they end."""
    stored = stage.tables.partitions(stage.table("dataset"))
    if not stored:
        return Verdict("freshness", False, "there are no data yet")
    newest = stage.calendar.interval(max(stored))[1]
    lag = min(stage.now, _end(stage)) - newest
    text = f"the newest partition is {max(stored)}, {max(lag, timedelta(0))} behind"
    return Verdict("freshness", lag <= STALE_AFTER * stage.calendar.step, text)


def _end(stage: Stage) -> datetime:
    """When the data end, or the end of time."""
    if stage.use_case.end is None:
        return datetime.max.replace(tzinfo=UTC)
    return stage.calendar.midnight(stage.use_case.end)
