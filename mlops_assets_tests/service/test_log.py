"""The prediction log: nothing twice, nothing in part, nothing beyond what it may hold."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.service import log
from mlops_assets.service.log import PredictionLog

NEVER = 3_600_000  # ms: only close() writes


def records(directory: Path) -> list[dict[str, Any]]:
    return [record for path in sorted(directory.iterdir()) for record, _ in log.read(path)]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_writes_without_being_closed(tmp_path: Path) -> None:
    written = PredictionLog(tmp_path, flush_ms=1)
    assert written.offer([{"n": 1}, {"n": 2}])
    wait_for(lambda: bool(list(tmp_path.iterdir())) and len(records(tmp_path)) == 2)
    written.close()


def test_numbers_records_without_a_gap_and_names_their_writer(tmp_path: Path) -> None:
    for _ in range(2):
        written = PredictionLog(tmp_path, flush_ms=NEVER)
        for n in range(3):
            written.offer([{"n": n}])
        written.close()
    found = records(tmp_path)
    assert [record["sequence"] for record in found] == [1, 2, 3, 1, 2, 3]
    assert len({record["writer"] for record in found}) == 2


def test_takes_all_or_nothing_and_no_more_than_it_may_hold(tmp_path: Path) -> None:
    written = PredictionLog(tmp_path, flush_ms=NEVER, capacity=3)
    assert written.offer([{"n": 1}, {"n": 2}])
    assert not written.offer([{"n": 3}, {"n": 4}])
    assert written.offer([{"n": 5}])
    written.close()
    assert not written.offer([{"n": 6}])
    assert [record["n"] for record in records(tmp_path)] == [1, 2, 5]


@pytest.mark.parametrize("limit", [{"segment_bytes": 1}, {"segment_seconds": 0.0}])
def test_begins_a_new_segment_when_one_is_full_or_old(
    tmp_path: Path, limit: dict[str, Any]
) -> None:
    written = PredictionLog(tmp_path, flush_ms=1, **limit)
    for n in range(3):
        written.offer([{"n": n}])
        wait_for(lambda: not written._pending)
    written.close()
    assert len(list(tmp_path.iterdir())) == 3
    assert [record["n"] for record in records(tmp_path)] == [0, 1, 2]


def test_makes_no_segment_without_a_record(tmp_path: Path) -> None:
    PredictionLog(tmp_path, flush_ms=1).close()
    assert list(tmp_path.iterdir()) == []


def test_takes_back_what_a_full_disk_cut_off_and_writes_it_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, full = os.write, [True, True]

    def cut_off(file: int, data: Any) -> int:
        if full and full.pop():
            write(file, bytes(data)[:7])
            raise OSError(errno.ENOSPC, "no space left on device")
        return write(file, bytes(data)[:11])  # a write may be short, too

    monkeypatch.setattr(log.os, "write", cut_off)
    written = PredictionLog(tmp_path, flush_ms=1)
    written.offer([{"n": n} for n in range(5)])
    wait_for(lambda: not written._pending)
    written.close()
    assert [record["n"] for record in records(tmp_path)] == [0, 1, 2, 3, 4]
    assert all(path.read_bytes().count(b"\n") in (0, 5) for path in tmp_path.iterdir())


def test_says_at_the_end_what_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(file: int, data: Any) -> int:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(log.os, "write", broken)
    written = PredictionLog(tmp_path, flush_ms=1)
    written.offer([{"n": 1}, {"n": 2}])
    with pytest.raises(OSError, match="2 predictions could not be logged"):
        written.close()


def test_a_reader_goes_on_where_it_stopped_and_waits_for_the_end_of_a_line(tmp_path: Path) -> None:
    segment = tmp_path / "segment.jsonl"
    segment.write_bytes(b'{"n": 1}\n{"n": 2}\n{"n": ')
    (first, after_first), (second, after_second) = log.read(segment)
    assert (first, second) == ({"n": 1}, {"n": 2})
    assert [record for record, _ in log.read(segment, after_first)] == [{"n": 2}]
    assert list(log.read(segment, after_second)) == []
    with segment.open("ab") as file:
        file.write(b"3}\n")
    assert [record for record, _ in log.read(segment, after_second)] == [{"n": 3}]
