"""Stands in for BentoML where tests need a service that starts at once: `bentoml serve PATH …`.

It answers every batch with the scores in its golden.json, and dies of a request for /die, or
at the start where there is a file `broken`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from argparse import ArgumentParser
from pathlib import Path

from aiohttp import web


def main() -> None:
    parser = ArgumentParser()
    parser.add_argument("verb", choices=["serve"])
    parser.add_argument("bento", type=Path)
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    if (options.bento / "src" / "broken").exists():
        sys.exit("this one is broken")
    web.run_app(_app(options.bento), host=options.host, port=options.port, print=None)


def _app(bento: Path) -> web.Application:
    golden = json.loads((bento / "src" / "golden.json").read_bytes())

    async def predict_batch(request: web.Request) -> web.Response:
        token = os.environ.get("MLOPS_SERVICE_TOKEN")
        if token and request.headers.get("Authorization") != f"Bearer {token}":
            return web.Response(status=401)
        predictions = [{"score": score} for score in golden["scores"]]
        return web.json_response({"model_version": golden["version"], "predictions": predictions})

    async def echo(request: web.Request) -> web.Response:
        content = {"headers": dict(request.headers), "path": request.raw_path, "pid": os.getpid()}
        body = (await request.read()).decode()
        return web.json_response(content | {"method": request.method, "body": body}, status=299)

    async def die(request: web.Request) -> web.Response:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    async def ready(request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application(client_max_size=2**30)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/livez", ready)
    app.router.add_post("/predict_batch", predict_batch)
    app.router.add_post("/die", die)
    app.router.add_route("*", "/echo", echo)
    return app


main()
