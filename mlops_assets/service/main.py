"""What BentoML starts: the service of the bundle that this code lies in."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import bentoml  # noqa: TID253 - runs inside the Bento only

from mlops_assets.service.app import create_app
from mlops_assets.service.bundle import Bundle
from mlops_assets.service.settings import Settings

_bundle = Bundle(Path(__file__).parents[2])
_settings = Settings.from_environment()


@bentoml.asgi_app(create_app(_bundle, _settings), path="/")
@bentoml.service(
    name=_bundle.schema.use_case,
    workers=_settings.workers,
    # An access log line and a trace a request cost more than the request.
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
)
class Predictor:
    __doc__ = _bundle.schema.description

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def follow_supervisor(self) -> None:
        self._following = asyncio.create_task(_end_without(os.getppid()))


async def _end_without(supervisor: int) -> None:
    """End this worker in order once BentoML's own supervisor is gone.

    It leads a session of its own, so nobody else would, and it would keep the port for ever.
    """
    while os.getppid() == supervisor:
        await asyncio.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
