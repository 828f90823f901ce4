"""One release of a service in a process of its own: started, proven, and kept alive."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from aiohttp import ClientError, ClientSession, ClientTimeout

from resources import bento
from resources.bento import ServiceError
from resources.deployments import tied
from resources.deployments.folder import POLL_SECONDS, Folder
from resources.deployments.release import TOKEN, Release

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
WARM_REQUESTS = 3
FIRST_DELAY, LONGEST_DELAY = 0.2, 30.0
"""Seconds until a service that died is started again, doubled while it does not come up."""
PROBE_SECONDS, PROBE_TIMEOUT, MAX_MISSED = 1.0, 10.0, 3
"""How a service that hangs is noticed. BentoML itself starts a worker that died again meanwhile."""
LOG_TAIL = 3_000


class Backend:
    """A release's process, behind a port of its own."""

    def __init__(self, folder: Folder, release: Release) -> None:
        self.release = release
        self.ready = asyncio.Event()
        self.starts = 0
        self.problem = ""
        """Why it is not ready, once it should be."""
        self._folder = folder
        self._log = folder.path / f"service-{release.digest[:12]}.log"
        self._home: str | None = None
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}"

    async def start(self) -> None:
        """Start the process and prove it. Raises ServiceError, with nothing left running."""
        self._verify()
        try:
            process = self._spawn()
            await self._until_it_answers(process)
            for _ in range(WARM_REQUESTS):
                await self.prove()
        except BaseException:
            await self._end()
            raise
        self.problem = ""
        self.ready.set()

    async def prove(self) -> None:
        """Ask the golden request. Raises ServiceError where the answer is not the known one."""
        _, scores = await asyncio.to_thread(
            bento.ask, self.url, self.release.bento, token=os.environ.get(TOKEN)
        )
        if scores != list(self.release.golden_scores):
            raise ServiceError(
                f"{self} answers its golden request with {scores}; it was released with"
                f" {list(self.release.golden_scores)}"
            )

    async def until_ready(self) -> None:
        """Wait for one that is being started. Raises ServiceError where it does not answer."""
        try:
            await asyncio.wait_for(self.ready.wait(), bento.READY_TIMEOUT)
        except TimeoutError:
            raise ServiceError(f"{self} does not get ready: {self.problem}") from None

    def keep(self) -> None:
        """From now on, start it whenever it does not run."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
            self._keeper = None
        await self._end()

    async def _keep(self) -> None:
        delay = FIRST_DELAY
        while True:
            if self._process is not None:
                await self._until_it_fails(self._process)
                await asyncio.sleep(delay)
            try:
                await self.start()
                delay = FIRST_DELAY
            except Exception as error:  # whatever it was, all one can do is to try again
                self._failed(f"{type(error).__name__}: {error}")
                delay = min(2 * delay, LONGEST_DELAY)
                await asyncio.sleep(delay)

    async def _until_it_fails(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the process ends, or answers no more; leave nothing of it."""
        ended = asyncio.create_task(asyncio.to_thread(process.wait))
        hung = asyncio.create_task(self._until_it_hangs())
        try:
            await asyncio.wait({ended, hung}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hung.cancel()
        if ended.done():
            self._failed(f"its process ended with {process.returncode}")
            await self._end()
        else:
            self._failed(f"it did not answer {MAX_MISSED} times in a row")
            await self._end(patience=0)

    async def _until_it_hangs(self) -> None:
        missed = 0
        async with ClientSession(timeout=ClientTimeout(total=PROBE_TIMEOUT)) as session:
            while missed < MAX_MISSED:
                await asyncio.sleep(PROBE_SECONDS)
                try:
                    async with session.get(f"{self.url}/livez"):
                        missed = 0
                except (ClientError, TimeoutError):
                    missed += 1

    def _failed(self, problem: str) -> None:
        logger.warning("%s: %s", self, problem)
        self.problem = problem

    def _verify(self) -> None:
        path = Path(self.release.bento)
        if not path.exists() or bento.digest(path) != self.release.digest:
            raise ServiceError(
                f"{path} is not what was released ({self.release.digest[:12]}…): it was changed or"
                " deleted since; build the service again"
            )

    def _spawn(self) -> subprocess.Popen[bytes]:
        self.starts += 1
        self._port = bento.free_port()
        self._home = tempfile.mkdtemp(prefix=f"{self.release.digest[:12]}-", dir=self._folder.homes)
        # `python -m bentoml …` becomes `python tied.py bentoml …`.
        (python, _, *arguments), env = bento.serve_command(
            self.release.bento,
            self._port,
            home=self._home,
            host=HOST,
            prediction_log=self._folder.prediction_log,
            token=os.environ.get(TOKEN),
        )
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [python, "-P", tied.__file__, *arguments],
                env=env,
                cwd=self._home,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        logger.info("%s starts as process %d on port %d", self, self._process.pid, self._port)
        return self._process

    async def _until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(bento.READY_TIMEOUT), ClientSession() as session:
                while process.poll() is None:
                    with suppress(ClientError):
                        async with session.get(f"{self.url}/readyz") as answer:
                            if answer.status == 200:
                                return
                    await asyncio.sleep(POLL_SECONDS)
        code = process.poll()
        state = f"was not ready in {bento.READY_TIMEOUT:g} s" if code is None else f"exited: {code}"
        log = self._log.read_text(errors="replace")[-LOG_TAIL:]
        raise ServiceError(f"{self} {state}; {self._log} ends:\n{log}")

    async def _end(self, patience: float = bento.STOP_TIMEOUT) -> None:
        self.ready.clear()
        process, self._process = self._process, None
        home, self._home = self._home, None
        if process is not None:
            await asyncio.to_thread(bento.stop, process, patience)
            assert process.stdin is not None
            process.stdin.close()
        if home is not None:
            shutil.rmtree(home, ignore_errors=True)

    def __str__(self) -> str:
        return f"version {self.release.model_version} ({self.release.digest[:12]}…)"
