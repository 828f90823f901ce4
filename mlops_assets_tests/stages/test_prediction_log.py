"""What the service wrote is taken in exactly once, whatever happens in between."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_assets.service.log import PredictionLog
from mlops_assets.stages import Verdict, prediction_log
from mlops_assets_tests.toy import TOY, Column, variant
from resources.compute.task import TaskResult
from resources.delta import PARTITION

from .conftest import Workplace

DAY, NEXT_DAY = "2024-06-01", "2024-06-02"
NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)
MIDNIGHT = datetime(2024, 6, 2, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)
WRITER = "a" * 32
ROW = {"parcel": None, "distance": 12.5, "weight": 1, "depot": "north", "late_share": 0.1}


def record(sequence: int, at: datetime = NOON, **changes: Any) -> dict[str, Any]:
    common = {"writer": WRITER, "sequence": sequence, "time": at.isoformat(), "index": 0}
    answer = {"request_id": f"r{sequence}", "model_version": "1", "score": sequence / 7}
    return {**common, **answer, "row": {**ROW, "parcel": f"p{sequence}"}, **changes}


class Log:
    """Takes in what lies in a directory of segments."""

    def __init__(self, workplace: Workplace, segments: Path) -> None:
        self.workplace, self.segments = workplace, segments
        self._numbers = itertools.count()
        segments.mkdir(exist_ok=True)

    def write(self, records: Sequence[dict[str, Any]], opened: datetime = NOON) -> Path:
        """A segment, as the service writes it."""
        name = f"{opened:%Y%m%dT%H%M%S.%f}-{WRITER}-{next(self._numbers):06d}.jsonl"
        path = self.segments / name
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return path

    def run(self, *partitions: str) -> TaskResult:
        keys = partitions or (DAY,)
        return self.workplace.run("prediction_log", keys, segments=str(self.segments))

    def check(self, *partitions: str) -> dict[str, Verdict]:
        keys = partitions or (DAY,)
        stage = self.workplace.stage("prediction_log", keys, segments=str(self.segments))
        return {verdict.check: verdict for verdict in prediction_log.check(stage)}

    def passes(self, *partitions: str) -> bool:
        return all(verdict.passed for verdict in self.check(*partitions).values())

    def rows(self) -> pd.DataFrame:
        rows = self.workplace.stage("prediction_log", []).tables.read("parcels/prediction_log")
        return rows.sort_values(["writer", "sequence"], ignore_index=True)

    def sequences(self) -> list[int]:
        return self.rows()["sequence"].tolist()


@pytest.fixture
def log(workplace: Callable[..., Workplace], tmp_path: Path) -> Log:
    return Log(workplace(), tmp_path / "segments")


def test_takes_in_what_the_real_writer_writes(log: Log) -> None:
    writer = PredictionLog(log.segments, flush_ms=10)
    now = datetime.now(UTC)
    answers = [
        {**record(n), "time": now, "request_id": "one", "index": n, "score": 0.1 + n}
        for n in range(3)
    ]
    plain = [{k: v for k, v in a.items() if k not in ("writer", "sequence")} for a in answers]
    assert writer.offer(plain)
    writer.close()
    today = TOY.calendar.key(now)
    facts = log.run(today).partitions[today]
    assert (facts["rows"], facts["requests"], facts["asked_again"]) == (3, 1, 0)
    assert log.passes(today)
    rows = log.rows()
    assert rows["score"].tolist() == [0.1, 1.1, 2.1]
    assert rows["request_index"].tolist() == [0, 1, 2]
    assert rows["answered_at"].tolist() == [pd.Timestamp(now)] * 3


def test_keeps_inputs_in_the_types_of_the_features(log: Log) -> None:
    log.write([record(1), record(2, row={**ROW, "depot": None, "weight": None})])
    log.run()
    rows = log.rows()
    assert rows[TOY.feature_names].dtypes.astype(str).tolist() == [
        "float64", "float64", "object", "float64",
    ]  # fmt: skip
    assert rows["weight"].isna().tolist() == [False, True]
    assert rows["parcel"].tolist() == ["p1", None]


def test_a_row_logged_before_a_feature_existed_has_none_of_it(log: Log) -> None:
    old = {name: value for name, value in ROW.items() if name != "late_share"}
    log.write([record(1, row=old), record(2)])
    log.run()
    assert log.rows()["late_share"].isna().tolist() == [True, False]


def test_run_again_it_is_the_same_and_late_segments_are_added(log: Log) -> None:
    log.write([record(1), record(2)])
    first = log.run()
    assert log.run().partitions == first.partitions
    log.write([record(3), record(4)])
    assert log.run().data_version != first.data_version
    assert log.sequences() == [1, 2, 3, 4]
    assert log.passes()


def test_what_was_taken_in_stays_when_its_segment_is_gone(log: Log) -> None:
    segment = log.write([record(1), record(2)])
    log.run()
    segment.unlink()
    log.write([record(3)])
    log.run()
    assert log.sequences() == [1, 2, 3]
    assert log.passes()


def test_a_day_without_answers_is_a_partition_without_rows(log: Log) -> None:
    log.segments.rmdir()
    assert log.run().partitions[DAY]["rows"] == 0
    assert log.passes()


def test_an_answer_belongs_to_the_day_it_was_given_in(log: Log) -> None:
    opened, before, after = MIDNIGHT - timedelta(minutes=9), MIDNIGHT - INSTANT, MIDNIGHT
    # The service wrote the second one first, and all to a segment of the day before.
    answers = [record(1, opened), record(3, before), record(2, after), record(4, after)]
    log.write(answers, opened)
    log.run(DAY)
    assert log.sequences() == [1, 3]
    log.run(NEXT_DAY)
    days = log.rows()[PARTITION].tolist()
    assert days == [DAY, NEXT_DAY, DAY, NEXT_DAY]
    assert log.passes(DAY)
    assert log.passes(NEXT_DAY)
    ranged = log.run(DAY, NEXT_DAY)
    assert {key: facts["rows"] for key, facts in ranged.partitions.items()} == {
        DAY: 2,
        NEXT_DAY: 2,
    }


def test_a_record_cut_off_by_a_crash_is_none(log: Log) -> None:
    segment = log.write([record(1), record(2)])
    with segment.open("a") as file:
        file.write('{"writer": "aaaa')
    log.run()
    assert log.sequences() == [1, 2]
    assert log.passes()


def test_a_damaged_segment_is_named(log: Log) -> None:
    segment = log.write([record(1)])
    with segment.open("a") as file:
        file.write("{nonsense}\n")
    with pytest.raises(ValueError, match=rf"{segment.name} is damaged"):
        log.run()


def test_lost_answers_are_counted_and_named(log: Log) -> None:
    log.write([record(n) for n in (1, 2, 5, 6, 9)])
    log.run()
    verdict = log.check()["no_loss"]
    assert not verdict.passed
    assert verdict.description == "4 answers are lost (writer aaaaaaaa…: 3–4, 7–8)"
    assert verdict.metadata["lost"] == 4


def test_a_loss_between_two_days_is_found(log: Log) -> None:
    log.write([record(1), record(2)])
    log.write([record(4, MIDNIGHT)], opened=MIDNIGHT)
    log.run(DAY, NEXT_DAY)
    assert log.passes(DAY)
    verdict = log.check(NEXT_DAY)["no_loss"]
    assert not verdict.passed
    assert "1 answers are lost (writer aaaaaaaa…: 3)" in verdict.description


def test_answers_that_were_not_taken_in_yet_are_named(log: Log) -> None:
    log.write([record(1), record(3, NOON + timedelta(seconds=1))])
    log.run()
    log.write([record(2)])
    verdict = log.check()["no_loss"]
    assert "1 more stand in segments: materialise the partition again" in verdict.description
    log.run()
    assert log.passes()


def test_two_answers_of_one_identity_are_both_kept_and_fail_the_check(log: Log) -> None:
    log.write([record(1), record(2), record(2), record(2, score=0.9)])
    log.run()
    assert log.sequences() == [1, 2, 2]
    verdict = log.check()["no_duplicates"]
    assert not verdict.passed
    assert "number 2 of writer aaaa" in verdict.description


def test_an_answer_that_was_asked_again_is_one_more_and_counted(log: Log) -> None:
    log.write([record(1, request_id="same"), record(2, request_id="same")])
    assert log.run().partitions[DAY]["asked_again"] == 1
    assert log.passes()


def test_golden_requests_are_told_apart(log: Log) -> None:
    log.write([record(1, request_id="golden-1"), record(2, score=0.5)])
    facts = log.run().partitions[DAY]
    assert (facts["rows"], facts["golden_rows"], facts["mean_score"]) == (2, 1, 0.5)
    assert log.rows()["is_golden"].tolist() == [True, False]


def test_the_truth_joins_by_key_once_it_has_matured(
    log: Log, workplace: Callable[..., Workplace]
) -> None:
    day = "2024-01-05"
    days = workplace().days("2024-01-01", 5)
    workplace().run("dataset", days)
    features = workplace().stage("dataset", days).read("dataset", [day])
    log.write([record(n + 1, row={**ROW, "parcel": p}) for n, p in enumerate(features["parcel"])])
    assert log.run().partitions[DAY]["matured"] == 0
    assert log.rows()["late"].isna().all()
    early = workplace(now=datetime(2024, 1, 6, 12, tzinfo=UTC))
    early.run("labels", days)
    first = log.run()
    matured = log.rows().dropna(subset="matured_at")
    assert 0 < len(matured) < len(features)
    workplace().run("labels", days)
    assert log.run().data_version != first.data_version
    labels = workplace().stage("labels", days).read("labels", [day]).set_index("parcel")["late"]
    rows = log.rows()
    assert rows["late"].tolist() == labels.reindex(rows["parcel"]).tolist()
    assert len(rows) == len(features)


def test_a_feature_may_not_be_named_like_a_column_of_the_log(
    workplace: Callable[..., Workplace], tmp_path: Path
) -> None:
    feature = Column(name="sequence", dtype="float", description="Clashes.")
    clashing = variant("clashing", features=(*TOY.features, feature))
    with pytest.raises(ValueError, match=r"columns \['sequence'\] of its own"):
        workplace(clashing).run("prediction_log", [DAY], segments=str(tmp_path))


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_however_segments_come_each_answer_is_taken_in_once(
    workplace: Callable[..., Workplace], tmp_path: Path, data: st.DataObject
) -> None:
    """Segments arrive in any order, with runs in between, some of them twice."""
    place = tmp_path / str(time.monotonic_ns())
    place.mkdir()
    log = Log(Workplace(place), place / "segments")
    total = data.draw(st.integers(1, 12))
    cuts = sorted(data.draw(st.sets(st.integers(1, total), max_size=4)) | {0, total})
    parts = [range(a + 1, b + 1) for a, b in itertools.pairwise(cuts)]
    for part in data.draw(st.permutations(parts)):
        log.write([record(n) for n in part])
        for _ in range(data.draw(st.integers(0, 2))):
            log.run()
    log.run()
    assert log.sequences() == list(range(1, total + 1))
    assert log.passes()


@pytest.mark.faults
@pytest.mark.parametrize("write", [1, 2])
def test_killed_before_a_write_and_run_again_it_ends_the_same(log: Log, write: int) -> None:
    log.write([record(n) for n in range(1, 4)])
    stage = log.workplace.stage("prediction_log", [DAY], segments=str(log.segments))
    script = f"""
import os, signal
from mlops_assets_tests.toy import TOY
from mlops_assets import worker
from resources.compute.task import Task
from resources.delta import DeltaStore

left, overwrite = {write}, DeltaStore.overwrite

def write(*arguments):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return overwrite(*arguments)

DeltaStore.overwrite = write
worker.run(Task.from_json({stage.task.to_json()!r}))
"""
    done = subprocess.run([sys.executable, "-c", script])
    assert done.returncode == -signal.SIGKILL
    again = log.run()
    assert log.sequences() == [1, 2, 3]
    assert log.run().partitions == again.partitions
    assert log.passes()
