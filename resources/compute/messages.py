"""Reads what a worker on this machine reports."""

from __future__ import annotations

import json
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

from dagster import PipesMessageReader
from dagster_pipes import PipesDefaultMessageWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dagster._core.pipes.context import PipesMessageHandler
    from dagster_pipes import PipesParams


class WholeMessages(PipesMessageReader):
    """Follows a temporary file of messages, one a line, and waits for the end of each line.

    Dagster's own reader parses what has been written of a line so far, and ends at its first
    mistake: of results of some megabytes it loses one in a few.
    """

    expected_writer_count = 1

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[PipesParams]:
        with tempfile.TemporaryDirectory() as folder:
            path, ended = Path(folder, "messages"), Event()
            path.touch()
            reader = Thread(target=_follow, args=(path, ended, handler), daemon=True)
            reader.start()
            try:
                yield {PipesDefaultMessageWriter.FILE_PATH_KEY: str(path)}
            finally:
                ended.set()
                reader.join()

    def no_messages_debug_text(self) -> str:
        return "Messages were expected in a temporary file."


def _follow(path: Path, ended: Event, handler: PipesMessageHandler) -> None:
    line = ""
    with path.open(encoding="utf-8") as file:
        while True:
            last = ended.is_set()
            line += file.readline()
            if line.endswith("\n"):
                handler.handle_message(json.loads(line))
                line = ""
            elif last:
                return
            else:
                time.sleep(0.01)
