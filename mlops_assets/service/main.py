"""What BentoML starts: the service of the bundle that this code lies in."""

from __future__ import annotations

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
