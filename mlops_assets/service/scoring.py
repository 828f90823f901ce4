"""From rows to scores: one frame for all rows that wait, one call of the model for the frame."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import lazy_loader as lazy

from mlops_assets.ml.contract import PANDAS_DTYPES, Column
from mlops_assets.service.bundle import Bundle, ModelMismatchError
from mlops_assets.service.schema import Row, batch_type

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
else:
    np = lazy.load("numpy")
    pd = lazy.load("pandas")

Score = Callable[[Sequence[Row]], list[float]]


class UnscorableError(ValueError):
    """The model has no finite score for a row, although the row keeps the contract."""


class OverloadedError(RuntimeError):
    """More rows wait than the service will hold."""


def load(bundle: Bundle) -> Score:
    """The function that scores validated rows with the bundle's model.

    Raises ModelMismatchError where the model is not the approved one, or scores the golden request
    otherwise than it did when it was approved (other versions of libraries, for instance).
    """
    from mlops_assets.ml import models

    model = models.load(bundle.model_bytes())
    columns = bundle.schema.features

    def score(rows: Sequence[Row]) -> list[float]:
        try:
            scores: list[float] = models.score(model, frame(rows, columns)).tolist()
        except (ValueError, OverflowError) as error:
            raise UnscorableError(f"the model cannot score this: {error}") from error
        if not all(map(math.isfinite, scores)):
            raise UnscorableError("the model gives this no finite score")
        return scores

    _verify(score, bundle)
    return score


def frame(rows: Sequence[Row], columns: Sequence[Column]) -> pd.DataFrame:
    """The rows in the types the model was trained on."""
    return pd.DataFrame({c.name: _values([row[c.name] for row in rows], c) for c in columns})


def _values(values: list[Any], column: Column) -> Any:
    dtype = PANDAS_DTYPES[column.dtype]
    if column.dtype in ("float", "str"):  # numpy's types, made ten times faster by numpy itself
        return np.array(values, dtype)
    return pd.array(values, dtype)


class Batcher:
    """Scores everything that waits at once; while one call runs, the next batch gathers.

    Nothing ever waits for a batch to fill, so a lone request pays nothing for it. What the model
    refuses is scored request by request, so that nobody gets an error for somebody else's row.
    """

    def __init__(self, score: Score, max_rows: int = 1_000, max_waiting: int = 50_000) -> None:
        self._score = score
        self._max_rows = max_rows
        self._max_waiting = max_waiting
        self._waiting: deque[tuple[Sequence[Row], asyncio.Future[list[float]]]] = deque()
        self._waiting_rows = 0
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "model")

    async def score(self, rows: Sequence[Row]) -> list[float]:
        """One score for each row.

        Raises UnscorableError where the model refuses these rows, OverloadedError where too many
        wait already.
        """
        if self._waiting_rows + len(rows) > self._max_waiting:
            raise OverloadedError(f"{self._waiting_rows} rows wait to be scored")
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, future))
        self._waiting_rows += len(rows)
        if self._task is None:
            self._task = asyncio.create_task(self._drain())
        scores: list[float] = await future
        return scores

    def close(self) -> None:
        self._thread.shutdown()

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            requests, futures = self._take()
            outcomes = await loop.run_in_executor(self._thread, self._outcomes, requests)
            for future, outcome in zip(futures, outcomes, strict=True):
                _settle(future, outcome)
        self._task = None

    def _take(self) -> tuple[list[Sequence[Row]], list[asyncio.Future[list[float]]]]:
        """The requests that fit into one batch, at least one."""
        taken = [self._waiting.popleft()]
        room = self._max_rows - len(taken[0][0])
        while self._waiting and len(self._waiting[0][0]) <= room:
            taken.append(self._waiting.popleft())
            room -= len(taken[-1][0])
        self._waiting_rows -= self._max_rows - room
        return [rows for rows, _ in taken], [future for _, future in taken]

    def _outcomes(self, requests: Sequence[Sequence[Row]]) -> list[list[float] | Exception]:
        """For each request its scores, or why there are none."""
        try:
            scores = iter(self._score([row for rows in requests for row in rows]))
        except Exception as error:  # handed to those who asked
            if len(requests) == 1:
                return [error]
            return [outcome for rows in requests for outcome in self._outcomes([rows])]
        return [[next(scores) for _ in rows] for rows in requests]


def _settle(future: asyncio.Future[list[float]], outcome: list[float] | Exception) -> None:
    if future.done():  # its client has gone
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _verify(score: Score, bundle: Bundle) -> None:
    rows, expected = bundle.golden()
    request: Any = batch_type(bundle.schema, len(rows)).validate_json(_dump({"rows": rows}))
    scores = score(request["rows"])
    if not all(math.isclose(s, e, rel_tol=1e-6) for s, e in zip(scores, expected, strict=True)):
        raise ModelMismatchError(
            f"the golden request scores {scores}, the model's own numbers were {expected}: are "
            "the libraries those of requirements.txt?"
        )


def _dump(value: Any) -> bytes:
    from pydantic_core import to_json

    return to_json(value)
