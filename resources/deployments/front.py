"""The address that stays: passes each request on to the service in charge.

It relays requests, not connections. A relay of connections cannot move a client that keeps its own
open: whenever it closes one that seems idle, a request may be under way on it, and is lost. Here
the next request of every client goes to the new service, and the old one has drained once the
requests that were passed on to it are answered: exactly known, nothing is cut off.

A prediction changes nothing, so a request whose service died before it answered is asked again, of
the service that comes back. It keeps its X-Request-ID, by which the prediction log shows it.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from contextlib import suppress
from typing import Protocol

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientSession,
    ClientTimeout,
    TCPConnector,
    web,
)
from multidict import CIMultiDict
from yarl import URL

PATIENCE = 30.0
"""Seconds a request waits for a service to come back."""
ANSWER_TIMEOUT = 60.0
MAX_ASKED = 3
"""How often a request is asked of services that die of it, or at least with it."""
MAX_WAITING = 1_000
MAX_BODY = 32 * 2**20
"""Bytes; the service has a lower limit of its own."""
REQUEST_ID = "X-Request-ID"
# Below what the service keeps idle connections for, so that it never closes one in use.
KEEP_ALIVE = 2.0
# These are about one connection, not about the request (RFC 9110, 7.6.1).
_HOP = {
    "connection", "content-length", "expect", "keep-alive", "proxy-authenticate",
    "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade",
}  # fmt: skip


class Target(Protocol):
    """A service that requests can be passed on to."""

    ready: asyncio.Event
    """Set while it answers."""

    @property
    def url(self) -> str: ...


class Front:
    """An HTTP server on one port."""

    def __init__(self) -> None:
        self.target: Target | None = None
        """Who is sent requests from now on; None: they are refused."""
        self._in_flight: Counter[Target] = Counter()
        self._waiting = 0
        self._session: ClientSession
        self._runner: web.AppRunner

    async def open(self, host: str, port: int) -> int:
        """Listen; return the port (a free one for 0). Raises OSError where it is taken."""
        self._session = ClientSession(
            auto_decompress=False,
            connector=TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE),
            timeout=ClientTimeout(total=ANSWER_TIMEOUT),
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._relay)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=ANSWER_TIMEOUT)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, reuse_address=True).start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def close(self) -> None:
        """Answer what was asked, then stop listening."""
        await self._runner.cleanup()
        await self._session.close()

    async def drained(self, target: Target, timeout: float = ANSWER_TIMEOUT) -> None:
        """Wait until the target, which is in charge no more, has answered all it was asked."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._in_flight[target]:
                    await asyncio.sleep(0.02)
                del self._in_flight[target]

    async def _relay(self, request: web.Request) -> web.Response:
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _refusal(request, 413, f"the body exceeds {MAX_BODY} bytes")
        headers = _passed_on(request.headers)
        headers.setdefault(REQUEST_ID, str(uuid.uuid4()))
        deadline = asyncio.get_running_loop().time() + PATIENCE
        asked = 0
        while asked < MAX_ASKED:
            target = await self._ready_target(deadline)
            if target is None:
                return _refusal(request, 503, "no service is ready; try again")
            try:
                return await self._ask(target, request, headers, body)
            except ClientConnectorError:  # it never heard of the request
                await asyncio.sleep(0.05)
            except ClientError:
                asked += 1
            except TimeoutError:
                return _refusal(request, 504, f"no answer in {ANSWER_TIMEOUT:g} s")
        return _refusal(request, 502, "the service died of this request, or with it, repeatedly")

    async def _ready_target(self, deadline: float) -> Target | None:
        """The service in charge once it is ready; None where that takes too long."""
        if self._waiting >= MAX_WAITING:
            return None
        self._waiting += 1
        try:
            while self.target is not None and asyncio.get_running_loop().time() < deadline:
                if self.target.ready.is_set():
                    return self.target
                await asyncio.sleep(0.05)
            return None
        finally:
            self._waiting -= 1

    async def _ask(
        self, target: Target, request: web.Request, headers: CIMultiDict[str], body: bytes
    ) -> web.Response:
        self._in_flight[target] += 1
        try:
            async with self._session.request(
                request.method,
                URL(f"{target.url}{request.raw_path}", encoded=True),
                headers=headers,
                data=body or None,
                allow_redirects=False,
            ) as answer:
                content = await answer.read()
                return web.Response(
                    status=answer.status, headers=_passed_on(answer.headers), body=content
                )
        finally:
            self._in_flight[target] -= 1


def _passed_on(headers: object) -> CIMultiDict[str]:
    kept: CIMultiDict[str] = CIMultiDict(headers)  # type: ignore[arg-type]
    for name in _HOP:
        kept.popall(name, None)
    return kept


def _refusal(request: web.Request, status: int, message: str) -> web.Response:
    """An error as the service itself words them."""
    named = request.headers.get(REQUEST_ID, "")
    content = {"request_id": named, "error": message, "fields": []}
    headers = {"Retry-After": "1"} if status == 503 else {}
    text = json.dumps(content)
    return web.Response(status=status, text=text, content_type="application/json", headers=headers)
