"""The prediction log: every answer, as JSON Lines, written beside the requests.

Answers wait in memory for at most `flush_ms`; then one thread writes and fsyncs them all at once.
So whatever crashes, process or machine, loses at most the answers of the last `flush_ms` and of
the write then under way, and never more than `capacity`. Where the disk cannot keep up, `offer`
refuses: the service answers 503 rather than without a record.

Segments are named `<start, UTC>-<writer>-<number>.jsonl`, so their order is that of time. They only
grow; a line counts once its newline is there. `(writer, sequence)` names a record for ever and
counts from 1 without a gap: a reader that remembers how far it came in each segment, or drops what
it has seen, gets every record exactly once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

logger = logging.getLogger(__name__)

CLOSING_ATTEMPTS = 5


class PredictionLog:
    """One process' writer of the log."""

    def __init__(
        self,
        directory: Path,
        *,
        flush_ms: int = 200,
        capacity: int = 20_000,
        segment_bytes: int = 64 * 2**20,
        segment_seconds: float = 600,
    ) -> None:
        self.flush_seconds = flush_ms / 1_000
        self._capacity = capacity
        self._segment_bytes = segment_bytes
        self._segment_seconds = segment_seconds
        self._directory = directory
        self._directory.mkdir(parents=True, exist_ok=True)
        self._writer = uuid.uuid4().hex
        self._sequence = 0
        self._pending: deque[bytes] = deque()
        self._lock = threading.Lock()
        self._segment: _Segment | None = None
        self._segments = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    def offer(self, records: Sequence[Mapping[str, Any]]) -> bool:
        """Take all the records, or none where there is no room; never waits for the disk."""
        with self._lock:
            if self._closing.is_set() or len(self._pending) + len(records) > self._capacity:
                return False
            for record in records:
                self._sequence += 1
                identity = {"writer": self._writer, "sequence": self._sequence}
                self._pending.append(to_json({**identity, **record}) + b"\n")
        return True

    def close(self) -> None:
        """Write what waits, and end. Raises OSError where that cannot be written."""
        with self._lock:
            self._closing.set()
        self._thread.join()
        for attempt in range(CLOSING_ATTEMPTS):
            if self._flush():
                break
            time.sleep(self.flush_seconds * attempt)
        if self._segment is not None:
            self._segment.close()
        if self._pending:
            raise OSError(f"{len(self._pending)} predictions could not be logged")

    def _run(self) -> None:
        while not self._closing.wait(self.flush_seconds):
            self._flush()

    def _flush(self) -> bool:
        """Write what waits; what could not be written goes on waiting."""
        with self._lock:
            lines = list(self._pending)
        if not lines:
            return True
        try:
            self._current().append(b"".join(lines))
        except OSError:
            logger.exception("cannot write to %s; %d predictions wait", self._directory, len(lines))
            self._segment = None
            return False
        with self._lock:
            for _ in lines:
                self._pending.popleft()
        return True

    def _current(self) -> _Segment:
        """The segment to write to, a new one where the last is full or old."""
        if self._segment is not None:
            age = time.monotonic() - self._segment.opened
            if self._segment.size < self._segment_bytes and age < self._segment_seconds:
                return self._segment
            self._segment.close()
        self._segments += 1
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{self._writer}-{self._segments:06d}.jsonl"
        self._segment = _Segment(self._directory / name)
        return self._segment


class _Segment:
    """A file that grows by whole lines: what was written in part is taken back."""

    def __init__(self, path: Path) -> None:
        self.opened = time.monotonic()
        self.size = 0
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
        _fsync_directory(path.parent)

    def append(self, data: bytes) -> None:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
            os.fsync(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self.size)
            self.close()
            raise
        self.size += len(data)

    def close(self) -> None:
        os.close(self._file)


def read(segment: Path, offset: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
    """The whole records of a segment from an offset on, each with the offset after it."""
    with segment.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield from_json(line), offset


def _fsync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
