"""What the online service answered, taken in exactly once, with the truth once it has matured.

A partition holds the answers given in its time, by the service's clock: a request says nothing
certain about when its event happens, and when it was answered never changes. A run reads what the
segments hold of its partitions, adds what an earlier run took in, drops what it has twice, and
overwrites: run again, after a crash or for late segments, it ends the same. Segments are never
deleted here; what is in the table stays there without them.

Two things are lost that no sequence can show: what waited in memory when the service crashed, by
its log's stated bound, and a request asked again after such a crash is one more answer, with the
same request id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mlops_assets.ml.contract import PANDAS_DTYPES, Column
from mlops_assets.service import log
from mlops_assets.stages import Stage, Verdict
from mlops_assets.stages.labels import MATURED_AT
from resources.bento import GOLDEN
from resources.compute.task import TaskResult
from resources.delta import PARTITION, combined, partition_hashes

if TYPE_CHECKING:
    from mlops_assets.use_cases import UseCase

LOG, WRITERS = "prediction_log", "prediction_log_writers"
SEGMENTS = "segments"
"""Parameter of the task: the directory the service writes to."""
IDENTITY = ["writer", "sequence"]
ANSWERED_AT = "answered_at"
ANSWER = {
    ANSWERED_AT: "datetime64[us, UTC]",
    "writer": "object",
    "sequence": "Int64",
    "request_id": "object",
    "request_index": "Int64",
    "model_version": "object",
    "score": "float64",
}
"""Columns besides a row's own, with their types."""
IS_GOLDEN = "is_golden"
"""Column: asked by a roll-out or a check to prove the service, not by a client."""
OPEN = timedelta(hours=1)
"""For how long at most a segment takes records; the service opens a new one far more often."""
LATE = timedelta(days=1)
"""For how long a record may wait in the service's memory for a disk that has no room."""


def run(stage: Stage) -> TaskResult:
    _refuse_names(stage.use_case)
    answers = _unique(pd.concat([_stored(stage), _in_segments(stage)], ignore_index=True))
    rows = _labelled(stage, answers)
    version = stage.write(LOG, rows, stage.partitions)
    stage.tables.overwrite(stage.table(WRITERS), _writers(rows), stage.partitions)
    hashes = partition_hashes(rows, IDENTITY)
    return TaskResult(
        data_version=combined(hashes),
        metadata={"table_version": version},
        partitions={key: _facts(rows, key, hashes) for key in stage.partitions},
    )


def check(stage: Stage) -> list[Verdict]:
    """Whether everything that was answered is in the table, once."""
    rows = _stored(stage)
    return [_no_loss(stage, rows), _no_duplicates(rows)]


def columns(use_case: UseCase) -> list[Column]:
    """The columns of a row that the service logs: its key, then its features."""
    contract = {column.name: column for column in use_case.contract}
    key = [contract[name] for name in use_case.key]
    return key + [column for column in use_case.features if column.name not in use_case.key]


def _refuse_names(use_case: UseCase) -> None:
    taken = {*ANSWER, IS_GOLDEN, MATURED_AT, PARTITION} & {
        column.name for column in columns(use_case)
    }
    if taken:
        raise ValueError(
            f"use case {use_case.name!r}: the prediction log has columns {sorted(taken)} of its"
            " own; rename the feature"
        )


def _stored(stage: Stage) -> pd.DataFrame:
    """The answers that are in the table, in the types in which they come from segments."""
    keys = stage.tables.partitions(stage.table(LOG)) & set(stage.partitions)
    empty = _frame(stage, [])
    if not keys:
        return empty
    stored = stage.tables.read(stage.table(LOG), sorted(keys)).reindex(columns=empty.columns)
    return stored.astype(empty.dtypes.to_dict())


def _in_segments(stage: Stage) -> pd.DataFrame:
    """The answers of the task's partitions that the service has written down."""
    frame = _frame(stage, _records(stage))
    return frame[frame[PARTITION].isin(stage.partitions)]


def _records(stage: Stage) -> Iterator[Mapping[str, Any]]:
    start = stage.calendar.interval(stage.partitions[0])[0] - OPEN
    end = stage.calendar.interval(stage.partitions[-1])[1] + LATE
    for segment in sorted(Path(stage.task.params[SEGMENTS]).glob("*.jsonl")):
        if start <= _opened(segment) < end:
            yield from _read(segment)


def _opened(segment: Path) -> datetime:
    moment = segment.name.partition("-")[0]
    return datetime.strptime(moment, "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC)


def _read(segment: Path) -> Iterator[Mapping[str, Any]]:
    try:
        for record, _ in log.read(segment):
            yield record
    except ValueError as error:
        raise ValueError(
            f"{segment} is damaged ({error}); move it elsewhere to go on without its answers"
        ) from error


def _frame(stage: Stage, records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Log records as rows, typed as the features are."""
    found = list(records)
    renamed = {ANSWERED_AT: "time", "request_index": "index"}
    answer = {
        name: _typed([record[renamed.get(name, name)] for record in found], dtype)
        for name, dtype in ANSWER.items()
    }
    rows = {
        column.name: _typed([record["row"].get(column.name) for record in found], dtype)
        for column, dtype in _types(stage.use_case)
    }
    times = answer[ANSWERED_AT]
    partitions = pd.Series([stage.calendar.key(moment) for moment in times], dtype="object")
    golden = answer["request_id"].str.startswith(GOLDEN).astype("boolean")
    return pd.DataFrame({PARTITION: partitions, **answer, IS_GOLDEN: golden, **rows})


def _types(use_case: UseCase) -> Iterator[tuple[Column, str]]:
    for column in columns(use_case):
        number = column.dtype in ("int", "float", "bool") and column.name not in use_case.key
        yield column, "float64" if number else PANDAS_DTYPES[column.dtype]


def _typed(values: Sequence[Any], dtype: str) -> pd.Series:
    if dtype.startswith("datetime"):
        return pd.to_datetime(pd.Series(values, dtype="object"), utc=True, format="ISO8601").astype(
            dtype
        )
    return pd.Series(values, dtype="object").astype(dtype)


def _unique(answers: pd.DataFrame) -> pd.DataFrame:
    """Each answer once. Different answers of one identity stay, for the check to find."""
    order = [ANSWERED_AT, *IDENTITY]
    return answers.drop_duplicates().sort_values(order, ignore_index=True)


def _labelled(stage: Stage, answers: pd.DataFrame) -> pd.DataFrame:
    """The answers with the truth about their rows, by key; missing until it has matured."""
    use_case, key = stage.use_case, list(stage.use_case.key)
    names = [*key, MATURED_AT, use_case.label]
    wanted = _truth_partitions(stage)
    if wanted:
        labels = stage.tables.read(stage.table("labels"), wanted, names)
    else:
        labels = answers[key].iloc[:0].assign(**{MATURED_AT: pd.NaT, use_case.label: 0.0})
    labels = labels.drop_duplicates(key, keep="last").astype(answers[key].dtypes.to_dict())
    rows = answers.merge(labels, on=key, how="left", validate="many_to_one")
    types = {MATURED_AT: "datetime64[us, UTC]", use_case.label: "float64"}
    return rows.assign(**{name: _typed(rows[name].tolist(), types[name]) for name in types})


def _truth_partitions(stage: Stage) -> list[str]:
    """Labels that may be about the answers: what is asked today happens today or later.

    In a data set that has ended, everything has happened before.
    """
    stored = sorted(stage.tables.partitions(stage.table("labels")))
    if stage.use_case.end is not None:
        return stored
    first = stage.calendar.key(stage.calendar.interval(stage.partitions[0])[0] - timedelta(days=1))
    return [key for key in stored if key >= first]


def _writers(rows: pd.DataFrame) -> pd.DataFrame:
    """The last sequence number of each writer (one process of the service) by partition."""
    return rows.groupby([PARTITION, "writer"], as_index=False).agg(last=("sequence", "max"))


def _facts(rows: pd.DataFrame, partition: str, hashes: Mapping[str, str]) -> dict[str, Any]:
    mine = rows[rows[PARTITION] == partition]
    asked = mine[~mine[IS_GOLDEN]]
    facts: dict[str, Any] = {
        "data_version": hashes.get(partition, "none"),
        "rows": len(mine),
        "golden_rows": len(mine) - len(asked),
        "requests": int(asked["request_id"].nunique()),
        "asked_again": int(asked.duplicated(["request_id", "request_index"]).sum()),
        "matured": int(asked[MATURED_AT].notna().sum()),
    }
    if asked.empty:
        return facts
    versions = ", ".join(sorted(asked["model_version"].unique()))
    return facts | {"mean_score": float(asked["score"].mean()), "model_versions": versions}


def _no_loss(stage: Stage, rows: pd.DataFrame) -> Verdict:
    waiting = _waiting(stage, rows)
    gaps = [gap for key in stage.partitions for gap in _gaps(stage, key, rows)]
    if not (waiting or gaps):
        return Verdict("no_loss", True, f"{len(rows)} answers, no number of a writer is missing")
    lost = sum(len(missing) for _, missing in gaps)
    named = "; ".join(f"writer {w[:8]}…: {_ranges(missing)}" for w, missing in gaps[:5])
    problems = [f"{lost} answers are lost ({named})"] if gaps else []
    if waiting:
        problems.append(f"{waiting} more stand in segments: materialise the partition again")
    return Verdict("no_loss", False, "; ".join(problems), {"lost": lost, "waiting": waiting})


def _waiting(stage: Stage, rows: pd.DataFrame) -> int:
    """Answers that segments hold and the table does not, later ones than its newest left out."""
    held = _in_segments(stage)
    newest = held[PARTITION].map(rows.groupby(PARTITION)[ANSWERED_AT].max())
    due = held[newest.isna() | (held[ANSWERED_AT] <= newest)]
    taken = pd.MultiIndex.from_frame(rows[IDENTITY])
    return int((~pd.MultiIndex.from_frame(due[IDENTITY]).isin(taken)).sum())


def _gaps(stage: Stage, partition: str, rows: pd.DataFrame) -> Iterator[tuple[str, list[int]]]:
    """Numbers that a writer gave, by the partition's last, and that no partition has."""
    before = stage.tables.read(stage.table(WRITERS)).query(f"{PARTITION} < @partition")
    until = before.groupby("writer")["last"].max()
    for writer, mine in rows[rows[PARTITION] == partition].groupby("writer"):
        first, last = int(until.get(writer, 0)) + 1, int(mine["sequence"].max())
        missing = set(range(first, last + 1)) - set(mine["sequence"])
        if missing:  # around midnight a later number may belong to the earlier partition
            missing -= set(_beside(stage, partition, str(writer)))
        if missing:
            yield str(writer), sorted(missing)


def _beside(stage: Stage, partition: str, writer: str) -> pd.Series:
    """The writer's numbers in the partition, which has some, and in those before and after."""
    start, end = stage.calendar.interval(partition)
    keys = {stage.calendar.key(start - timedelta(seconds=1)), stage.calendar.key(end)}
    there = sorted({*keys, partition} & stage.tables.partitions(stage.table(LOG)))
    rows = stage.tables.read(stage.table(LOG), there, IDENTITY)
    return rows.loc[rows["writer"] == writer, "sequence"]


def _ranges(numbers: Sequence[int]) -> str:
    """1, 2, 3, 7 as "1–3, 7"."""
    series = pd.Series(numbers)
    runs = [run for _, run in series.groupby(series - range(len(series)))]
    texts = [f"{run.iloc[0]}–{run.iloc[-1]}" if len(run) > 1 else str(run.iloc[0]) for run in runs]
    return ", ".join(texts[:5]) + (", …" if len(texts) > 5 else "")


def _no_duplicates(rows: pd.DataFrame) -> Verdict:
    twice = rows[rows.duplicated(IDENTITY, keep=False)]
    if twice.empty:
        return Verdict("no_duplicates", True, f"{len(rows)} answers, each once")
    first = twice.iloc[0]
    return Verdict(
        "no_duplicates",
        False,
        f"{len(twice)} answers share their identity with another, e.g. number {first['sequence']}"
        f" of writer {first['writer']}",
    )
