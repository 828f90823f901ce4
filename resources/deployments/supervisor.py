"""Keeps a use case's service alive, and changes it for another one without losing a request.

`python -m resources.deployments.supervisor FOLDER` lets go of its parent and does what `FOLDER`
asks, until it is asked to stop. A new release is started beside the one in charge, proven by its
golden request, and only then sent requests; the old one answers those it has, and stays as standby.
Its state is written after each change: when a client starts it again after it was killed, it serves
what was live, and does what was asked and not yet answered.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resources.bento import ServiceError
from resources.deployments.backend import HOST, Backend
from resources.deployments.folder import POLL_SECONDS, Folder
from resources.deployments.front import Front
from resources.deployments.release import Release

logger = logging.getLogger(__name__)


class Supervisor:
    """Does what is asked in a folder, one request after the other."""

    def __init__(self, folder: Folder) -> None:
        state = folder.state()
        self._folder = folder
        self._front = Front()
        self._port: int = state.get("port", 0)
        live = _release(state.get("live"))
        self._live = None if live is None else Backend(folder, live)
        self._standby: Backend | None = None
        self._previous = _release(state.get("previous"))
        self._answered: Mapping[str, Any] = state.get("answered", {})
        self._written: Mapping[str, Any] = state
        self._leaving = False

    async def run(self) -> None:
        """Serve until asked to stop, or told to end by SIGTERM."""
        if not await self._open(self._folder.request()):
            return
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._leave)
        self._resume()
        try:
            while not self._leaving:
                await self._do(self._folder.request())
                self._write()
                await asyncio.sleep(POLL_SECONDS)
        finally:
            await self._close()

    async def _open(self, request: Mapping[str, Any]) -> bool:
        port = request.get("port") or self._port
        try:
            self._port = await self._front.open(HOST, port)
        except OSError as error:
            problem = f"cannot listen on {HOST}:{port} ({error.strerror}); name another port"
            self._answer(request, problem)
            return False
        return True

    def _resume(self) -> None:
        """Serve what was live when an earlier supervisor died."""
        if self._live is not None:
            self._front.target = self._live
            self._live.keep()

    async def _do(self, request: Mapping[str, Any]) -> None:
        if request.get("id") == self._answered.get("id"):
            return
        logger.info("asked to %s", request["verb"])
        try:
            await (self._stop() if request["verb"] == "stop" else self._roll_out(request))
        except Exception as error:  # handed to who asked; what is live must not suffer from it
            logger.exception("could not %s", request["verb"])
            self._answer(request, str(error) or repr(error))
        else:
            self._answer(request)

    async def _roll_out(self, request: Mapping[str, Any]) -> None:
        if request["port"] not in (None, self._port):
            raise ServiceError(
                f"it serves on port {self._port}, not {request['port']}; stop it first to move it"
            )
        release = Release.from_json(request["release"])
        if self._live is not None and self._live.release.digest == release.digest:
            await self._live.until_ready()
            return
        new = await self._proven(release)
        new.keep()
        old, self._live, self._front.target = self._live, new, new
        self._previous = old.release if old else self._previous
        self._write()
        await self._retire(old, keep=request["standby"])

    async def _proven(self, release: Release) -> Backend:
        """A running backend of the release: the standby, where it is that."""
        standby = self._standby
        if standby is None or standby.release.digest != release.digest:
            backend = Backend(self._folder, release)
            await backend.start()
            return backend
        await standby.until_ready()
        await standby.prove()
        self._standby = None
        return standby

    async def _retire(self, old: Backend | None, keep: bool) -> None:
        """Let the old backend answer what it was asked; it is the standby now, if one is kept."""
        if self._standby is not None:
            await self._standby.stop()
        self._standby = old if keep else None
        if old is not None:
            await self._front.drained(old)
            if not keep:
                await old.stop()

    async def _stop(self) -> None:
        live, self._live, self._front.target = self._live, None, None
        if live is not None:
            self._previous = live.release
            await self._front.drained(live)
            await live.stop()
        self._leave()

    def _leave(self) -> None:
        self._leaving = True

    async def _close(self) -> None:
        self._front.target = None
        for backend in (self._live, self._standby):
            if backend is not None:
                await self._front.drained(backend)
                await backend.stop()
        await self._front.close()

    def _answer(self, request: Mapping[str, Any], error: str = "") -> None:
        self._answered = {"id": request["id"], "error": error}
        self._write()

    def _write(self) -> None:
        state = self._state()
        if state != self._written:
            self._folder.write_state(state)
            self._written = state

    def _state(self) -> dict[str, Any]:
        live = self._live
        return {
            "port": self._port,
            "url": f"http://{HOST}:{self._port}",
            "live": live.release.to_json() if live else None,
            "previous": self._previous.to_json() if self._previous else None,
            "ready": bool(live and live.ready.is_set()),
            "restarts": live.starts - 1 if live and live.starts else 0,
            "problem": live.problem if live else "",
            "answered": dict(self._answered),
        }


def _release(data: Mapping[str, Any] | None) -> Release | None:
    return None if data is None else Release.from_json(data)


def main(path: str) -> None:
    folder = Folder(Path(path))
    if not folder.occupy():  # another one was faster
        return
    if os.fork():  # the child has the lock now; nobody waits for it, and no terminal ends it
        os._exit(0)
    os.setsid()
    folder.sign()
    shutil.rmtree(folder.homes, ignore_errors=True)
    folder.homes.mkdir()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asyncio.run(Supervisor(folder).run())


if __name__ == "__main__":
    main(sys.argv[1])
