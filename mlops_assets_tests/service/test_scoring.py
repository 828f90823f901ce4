"""Batches form while the model is busy, and nobody pays for another's row."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mlops_assets.service.schema import Row
from mlops_assets.service.scoring import Batcher, OverloadedError, UnscorableError


class Model:
    """Scores a row with its own number; can be held up, and dislikes negative numbers."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.free = threading.Event()
        self.free.set()

    def __call__(self, rows: Sequence[Row]) -> list[float]:
        self.free.wait(10)
        self.calls.append(len(rows))
        if any(row["n"] < 0 for row in rows):
            raise UnscorableError("negative")
        return [float(row["n"]) for row in rows]


def rows(*numbers: int) -> list[Row]:
    return [{"n": number} for number in numbers]


def ask(batcher: Batcher, requests: Sequence[list[Row]], between: Callable[[], None]) -> list[Any]:
    """Send the first request, then, while the model is busy with it, the others."""

    async def main() -> list[Any]:
        tasks = [asyncio.create_task(batcher.score(requests[0]))]
        await asyncio.sleep(0.05)
        tasks += [asyncio.create_task(batcher.score(request)) for request in requests[1:]]
        await asyncio.sleep(0.05)
        between()
        return await asyncio.gather(*tasks, return_exceptions=True)

    try:
        return asyncio.run(main())
    finally:
        batcher.close()


def test_scores_what_gathered_in_one_call() -> None:
    model = Model()
    model.free.clear()
    scores = ask(Batcher(model), [rows(1), rows(2), rows(3, 4), rows(5)], model.free.set)
    assert scores == [[1.0], [2.0], [3.0, 4.0], [5.0]]
    assert model.calls == [1, 4]


def test_keeps_calls_to_the_most_rows_a_batch_may_have() -> None:
    model = Model()
    model.free.clear()
    requests = [rows(1), rows(2, 3), rows(4), rows(5, 6, 7, 8, 9)]
    scores = ask(Batcher(model, max_rows=3), requests, model.free.set)
    assert [len(found) for found in scores] == [1, 2, 1, 5]
    assert model.calls == [1, 3, 5]


def test_a_refused_row_fails_its_own_request_only() -> None:
    model = Model()
    model.free.clear()
    one, bad, two = ask(Batcher(model), [rows(1), rows(-1), rows(2)], model.free.set)
    assert (one, two) == ([1.0], [2.0])
    assert isinstance(bad, UnscorableError)


def test_refuses_more_than_may_wait_and_recovers() -> None:
    model = Model()
    model.free.clear()
    batcher = Batcher(model, max_waiting=2)
    outcomes = ask(batcher, [rows(1), rows(2, 3), rows(4)], model.free.set)
    assert outcomes[:2] == [[1.0], [2.0, 3.0]]
    assert isinstance(outcomes[2], OverloadedError)


def test_a_client_that_left_disturbs_nobody() -> None:
    model = Model()
    model.free.clear()
    batcher = Batcher(model)

    async def main() -> list[float]:
        gone = asyncio.create_task(batcher.score(rows(1)))
        stays = asyncio.create_task(batcher.score(rows(2)))
        await asyncio.sleep(0.05)
        gone.cancel()
        model.free.set()
        return await stays

    assert asyncio.run(main()) == [2.0]
    batcher.close()


def test_an_error_of_the_model_reaches_those_who_asked() -> None:
    def broken(rows: Sequence[Row]) -> list[float]:
        raise RuntimeError("broken")

    batcher = Batcher(broken)
    with pytest.raises(RuntimeError, match="broken"):
        asyncio.run(batcher.score(rows(1)))
    batcher.close()
