"""The application that BentoML mounts: `/predict` and `/predict_batch`."""

from __future__ import annotations

import asyncio
import gc
import hmac
import logging
import re
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any

from prometheus_client import Histogram
from pydantic import ValidationError
from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from mlops_assets.service import openapi, scoring
from mlops_assets.service.bundle import Bundle
from mlops_assets.service.log import PredictionLog
from mlops_assets.service.schema import Row, ServiceSchema, batch_type, row_type, score_bounds
from mlops_assets.service.settings import Settings

logger = logging.getLogger(__name__)

LOG_PATIENCE = 5
"""How many flushes of the prediction log a request waits for room in it, before it gets a 503."""
MAX_PROBLEMS = 20
_REQUEST_ID = re.compile("[A-Za-z0-9._:-]{1,128}")
# BentoML's own page is this one plus a tracker.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="UTF-8">
<title>Prediction service</title>
<link rel="stylesheet" href="./static_content/swagger-ui.css">
<div id="swagger-ui"></div>
<script src="./static_content/swagger-ui-bundle.js"></script>
<script src="./static_content/swagger-ui-standalone-preset.js"></script>
<script src="./static_content/swagger-initializer.js"></script>
</html>
"""


def create_app(bundle: Bundle, settings: Settings) -> Starlette:
    """The service of one bundle; its model is loaded when the application starts.

    Raises ModelMismatchError at once where the model file is not the approved one.
    """
    bundle.model_bytes()
    predictor = _Predictor(bundle, settings)
    document = to_json(openapi.document(bundle.schema, settings))

    async def describe(_: Request) -> Response:
        return _json(document)

    async def page(_: Request) -> Response:
        return HTMLResponse(_PAGE)

    return Starlette(
        routes=[
            Route("/predict", predictor.predict, methods=["POST"]),
            Route("/predict_batch", predictor.predict_batch, methods=["POST"]),
            Route("/", page),
            Route("/openapi.json", describe),
            Route("/docs.json", describe),  # where BentoML's own pages look for it
        ],
        exception_handlers={
            HTTPException: _refuse,
            ValidationError: _refuse_fields,
            scoring.UnscorableError: _refuse_unscorable,
            scoring.OverloadedError: _refuse_overload,
        },
        lifespan=predictor.lifespan,
    )


class _Predictor:
    """Answers requests with the scores of one model."""

    def __init__(self, bundle: Bundle, settings: Settings) -> None:
        self._bundle = bundle
        self._settings = settings
        self._schema = bundle.schema
        self._row = row_type(bundle.schema)
        self._batch = batch_type(bundle.schema, settings.max_rows)
        self._batcher: scoring.Batcher
        self._log: PredictionLog | None = None

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._histogram = score_histogram(self._schema)
        self._batcher = scoring.Batcher(scoring.load(self._bundle), self._settings.max_rows)
        if self._settings.prediction_log is None:
            logger.warning("MLOPS_PREDICTION_LOG is not set: predictions are not logged")
        else:
            directory = self._settings.prediction_log
            self._log = PredictionLog(directory, flush_ms=self._settings.flush_ms)
        gc.collect()
        gc.freeze()  # what is loaded now lives for ever; looking it through again costs 0.2 s
        try:
            yield
        finally:
            gc.unfreeze()
            self._batcher.close()
            if self._log is not None:
                self._log.close()

    async def predict(self, request: Request) -> Response:
        row = self._row.validate_json(await self._body(request))
        (prediction,) = await self._predictions(request, [row])
        return self._answer(request, prediction)

    async def predict_batch(self, request: Request) -> Response:
        rows = self._batch.validate_json(await self._body(request))["rows"]
        predictions = await self._predictions(request, rows)
        return self._answer(request, {"predictions": predictions})

    async def _predictions(self, request: Request, rows: list[Row]) -> list[dict[str, Any]]:
        """Score the rows and log it; without a record there is no answer."""
        scores = await self._batcher.score(rows)
        if self._log is not None:
            await _record(self._log, list(self._records(request, rows, scores)))
        for score in scores:
            self._histogram.observe(score)
        names = self._schema.key_names
        return [
            {"score": score, "key": {name: row.get(name) for name in names}}
            for row, score in zip(rows, scores, strict=True)
        ]

    def _records(
        self, request: Request, rows: Sequence[Row], scores: Sequence[float]
    ) -> Iterator[dict[str, Any]]:
        common = {
            "time": datetime.now(UTC),
            "request_id": _request_id(request),
            "model_version": self._schema.model_version,
        }
        for index, (row, score) in enumerate(zip(rows, scores, strict=True)):
            yield {**common, "index": index, "score": score, "row": row}

    def _answer(self, request: Request, content: dict[str, Any]) -> Response:
        identity = {
            "request_id": _request_id(request),
            "model_version": self._schema.model_version,
        }
        return _json(to_json(identity | content), request)

    async def _body(self, request: Request) -> bytes:
        """The body, once the client may send one, of the right type and size."""
        self._authorize(request)
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise HTTPException(415, "send application/json")
        limit = self._settings.max_bytes
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise HTTPException(413, f"the body exceeds {limit} bytes", {"Connection": "close"})
        return bytes(body)

    def _authorize(self, request: Request) -> None:
        if self._settings.token is None:
            return
        sent = request.headers.get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(sent, b"Bearer " + self._settings.token.encode()):
            headers = {"WWW-Authenticate": "Bearer"}
            raise HTTPException(401, "send Authorization: Bearer <token>", headers)


@cache
def score_histogram(schema: ServiceSchema) -> Any:
    """Scores by model version, for /metrics, in twentieths of their range where it is known."""
    low, high = score_bounds(schema)
    if low is None or high is None:
        powers = [2.0**n for n in range(-4, 15)]
        buckets = [*(-power for power in reversed(powers)), 0.0, *powers]
    else:
        buckets = [low + (high - low) * n / 20 for n in range(1, 21)]
    histogram = Histogram("model_score", "Scores given", ["model_version"], buckets=buckets)
    return histogram.labels(schema.model_version)


async def _record(log: PredictionLog, records: Sequence[dict[str, Any]]) -> None:
    for _ in range(LOG_PATIENCE):
        if log.offer(records):
            return
        await asyncio.sleep(log.flush_seconds)
    raise HTTPException(503, "the prediction log cannot keep up; try again", {"Retry-After": "1"})


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(request, error.status_code, error.detail, headers=error.headers)


async def _refuse_fields(request: Request, error: Exception) -> Response:
    assert isinstance(error, ValidationError)
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    fields = [
        {"field": ".".join(map(str, problem["loc"])), "problem": problem["msg"]}
        for problem in problems[:MAX_PROBLEMS]
    ]
    return _error(request, 422, f"{len(problems)} mistakes in the request", fields)


async def _refuse_unscorable(request: Request, error: Exception) -> Response:
    return _error(request, 422, str(error))


async def _refuse_overload(request: Request, error: Exception) -> Response:
    return _error(request, 503, str(error), headers={"Retry-After": "1"})


def _error(
    request: Request,
    status: int,
    message: str,
    fields: Sequence[dict[str, str]] = (),
    headers: Any = None,
) -> Response:
    content = {"request_id": _request_id(request), "error": message, "fields": list(fields)}
    response = _json(to_json(content), request, status)
    response.headers.update(headers or {})
    return response


def _request_id(request: Request) -> str:
    """The client's name for the request where it is a sane one, else ours."""
    if not hasattr(request.state, "id"):
        sent = request.headers.get("x-request-id", "")
        request.state.id = sent if _REQUEST_ID.fullmatch(sent) else str(uuid.uuid4())
    return str(request.state.id)


def _json(content: bytes, request: Request | None = None, status: int = 200) -> Response:
    headers = {} if request is None else {"X-Request-ID": _request_id(request)}
    return Response(content, status, headers, "application/json")
