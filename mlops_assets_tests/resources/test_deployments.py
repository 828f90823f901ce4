"""Services on this machine: changed without losing a request, and kept alive, come what may."""

from __future__ import annotations

import asyncio
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import psutil
import pytest

from resources import bento
from resources.bento import ServiceError
from resources.deployments import backend, front
from resources.deployments.backend import Backend
from resources.deployments.folder import Folder
from resources.deployments.local import LocalDeployments
from resources.deployments.release import DeploymentError, Release

FAKE_BENTOML = Path(__file__).parent / "fake_bentoml"
NAME = "toy"


@dataclass
class Place:
    """A deployment in a temporary directory, with releases to deploy."""

    root: Path
    deployments: LocalDeployments

    @property
    def folder(self) -> Folder:
        return Folder(self.root / "deployments" / NAME)

    def release(self, version: str, **files: str) -> Release:
        """A Bento that answers its golden request with numbers made from the version."""
        path = self.root / "bentos" / version
        scores = (float(version) / 10, float(version) / 7)
        golden = {"request": {"rows": [{}, {}]}, "scores": scores, "version": version}
        for name, text in {"golden.json": json.dumps(golden), **files}.items():
            (path / "src").mkdir(parents=True, exist_ok=True)
            (path / "src" / name).write_text(text)
        return Release(
            bento=str(path), digest=bento.digest(path), model_version=version, golden_scores=scores
        )

    def roll_out(self, release: Release) -> str:
        """Its URL."""
        url = self.deployments.roll_out(NAME, release).url
        assert url
        return url

    def live(self) -> str | None:
        """The version that says it is live, and answers."""
        status = self.deployments.status(NAME)
        if status.live is None:
            return None
        answer = httpx.post(f"{status.url}/predict_batch", json={}, timeout=60)
        assert answer.status_code == 200, answer.text
        assert answer.json()["model_version"] == status.live.model_version
        return status.live.model_version

    def processes(self) -> list[psutil.Process]:
        """Everything that runs for this deployment."""
        mine = str(self.root).encode()
        return [p for p in psutil.process_iter() if mine in _words(p)]


def _words(process: psutil.Process) -> bytes:
    try:
        return Path(f"/proc/{process.pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("PYTHONPATH", str(FAKE_BENTOML))
    place = Place(tmp_path, LocalDeployments(home=str(tmp_path / "deployments"), timeout=60))
    yield place
    place.deployments.stop(NAME)
    assert place.processes() == []


@dataclass
class Load:
    """Clients that ask without a pause, half of them over connections they keep."""

    url: str
    answers: list[tuple[float, int, str]] = field(default_factory=list)
    """When it was asked, status, version or error."""
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def failed(self) -> list[tuple[float, int, str]]:
        return [answer for answer in self.answers if answer[1] != 200]

    def versions(self, since: float = 0, until: float = math.inf) -> set[str]:
        return {version for at, _, version in self.answers if since < at < until}

    def ask(self, client: httpx.Client) -> None:
        at = time.monotonic()
        try:
            answer = client.post(f"{self.url}/predict_batch", json={})
        except httpx.HTTPError as error:
            self.answers.append((at, 0, repr(error)))
            return
        version = answer.json().get("model_version", answer.text)
        self.answers.append((at, answer.status_code, version))

    def keep_asking(self, keep_connection: bool) -> None:
        client = httpx.Client(timeout=60)
        while not self._ended.is_set():
            if not keep_connection:
                client.close()
                client = httpx.Client(timeout=60)
            self.ask(client)
        client.close()

    @contextmanager
    def __call__(self) -> Iterator[Load]:
        threads = [threading.Thread(target=self.keep_asking, args=(n % 2 == 0,)) for n in range(4)]
        for thread in threads:
            thread.start()
        try:
            self.wait(50)
            yield self
            self.wait(50)
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()

    def wait(self, more: int) -> None:
        enough = len(self.answers) + more
        while len(self.answers) < enough:
            time.sleep(0.01)


def until(met: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_nothing_is_live_before_the_first_roll_out(place: Place) -> None:
    status = place.deployments.status(NAME)
    assert (status.live, status.previous, status.url, status.ready) == (None, None, None, False)
    place.deployments.stop(NAME)
    with pytest.raises(DeploymentError, match="no earlier release"):
        place.deployments.roll_back(NAME)


def test_under_load_no_request_fails_while_releases_change(place: Place) -> None:
    url = place.roll_out(place.release("1"))
    with Load(url)() as load:
        place.roll_out(place.release("2"))
        second = time.monotonic()
        load.wait(50)
        until_then = time.monotonic()
        back = place.deployments.roll_back(NAME)
        third = time.monotonic()
        load.wait(50)
    assert load.failed == []
    assert load.versions(until=second) >= {"1"}
    assert load.versions(since=second, until=until_then) == {"2"}
    assert load.versions(since=third) == {"1"}
    assert (back.live, back.previous) == (place.release("1"), place.release("2"))
    assert back.url == url


def test_rolling_out_what_is_live_changes_nothing(place: Place) -> None:
    first, second = place.release("1"), place.release("2")
    place.roll_out(first)
    place.roll_out(second)
    before = place.processes()
    status = place.deployments.roll_out(NAME, second)
    assert (status.live, status.previous) == (second, first)
    assert place.processes() == before


@pytest.mark.parametrize("kept", [True, False])
def test_the_previous_release_is_a_standby_if_one_is_wanted(place: Place, kept: bool) -> None:
    place.deployments = LocalDeployments(home=place.deployments.home, standby=kept)
    for version in ("1", "2", "3"):
        place.roll_out(place.release(version))
    running = [word for p in place.processes() for word in p.cmdline() if "/bentos/" in word]
    assert sorted(Path(path).name for path in running) == (["2", "3"] if kept else ["3"])
    place.deployments.roll_back(NAME)
    assert place.live() == "2"


def test_a_release_that_is_not_what_it_should_be_never_goes_live(place: Place) -> None:
    good = place.release("1")
    url = place.roll_out(good)
    wrong = replace(place.release("2"), golden_scores=(0.5, 0.5))
    broken = place.release("3", broken="")
    changed = place.release("4")
    place.release("4", model="poison")
    lost = place.release("5")
    shutil.rmtree(lost.bento)
    with Load(url)() as load:
        for release, message in {
            wrong: r"answers its golden request with \[0\.2, .*released with \[0\.5, 0\.5\]",
            broken: "this one is broken",
            changed: "not what was released",
            lost: "changed or deleted",
        }.items():
            with pytest.raises(DeploymentError, match=message):
                place.deployments.roll_out(NAME, release)
    assert load.failed == []
    assert load.versions() == {"1"}
    status = place.deployments.status(NAME)
    assert (status.live, status.previous) == (good, None)
    assert len(place.processes()) == 2


def test_requests_and_answers_pass_through_unchanged(place: Place) -> None:
    url = place.roll_out(place.release("1"))
    headers = {"X-Request-ID": "mine", "Content-Type": "text/odd", "Connection": "close"}
    with httpx.Client(headers=headers) as client:
        answers = {
            method: client.request(method, f"{url}/echo?a=%2F+b&a=2", content=b"\xc3\xa4")
            for method in ("POST", "PUT", "PATCH", "DELETE")
        }
    for method, answer in answers.items():
        assert answer.status_code == 299
        seen = answer.json()
        assert (seen["method"], seen["path"], seen["body"]) == (method, "/echo?a=%2F+b&a=2", "ä")
        assert seen["headers"]["X-Request-ID"] == "mine"
        assert seen["headers"]["Content-Type"] == "text/odd"
    assert httpx.get(f"{url}/echo").json()["headers"]["X-Request-ID"]
    assert httpx.get(f"{url}/nowhere").status_code == 404
    assert httpx.post(f"{url}/echo", content=bytes(front.MAX_BODY + 1)).status_code == 413


@pytest.mark.faults
def test_a_service_that_dies_under_load_is_restarted_and_loses_no_request(place: Place) -> None:
    url = place.roll_out(place.release("1"))
    with Load(url)() as load:
        for restarts in (1, 2):
            os.kill(httpx.get(f"{url}/echo").json()["pid"], signal.SIGKILL)
            until(lambda n=restarts: place.deployments.status(NAME).restarts == n)
            load.wait(20)
    assert load.failed == []
    assert place.deployments.status(NAME).ready


@pytest.mark.faults
def test_a_service_that_hangs_is_replaced(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROBE_SECONDS", "PROBE_TIMEOUT"):
        monkeypatch.setattr(backend, name, 0.2)

    async def play() -> None:
        place.folder.homes.mkdir(parents=True)
        service = Backend(place.folder, place.release("1"))
        await service.start()
        service.keep()
        hung = place.processes()
        for process in hung:
            process.suspend()
        while service.starts < 2:
            await asyncio.sleep(0.05)
        await service.until_ready()
        assert not any(process.is_running() for process in hung)
        await service.stop()

    asyncio.run(asyncio.wait_for(play(), 60))


def test_a_token_is_asked_for_and_known_to_who_must_ask(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_SERVICE_TOKEN", "s3cret")
    release = place.release("1")
    url = place.roll_out(release)
    assert httpx.post(f"{url}/predict_batch", json={}).status_code == 401
    assert place.deployments.ask_golden(NAME) == ("1", list(release.golden_scores))
    assert not any(b"s3cret" in path.read_bytes() for path in place.root.rglob("*.*"))
    monkeypatch.delenv("MLOPS_SERVICE_TOKEN")
    with pytest.raises(ServiceError, match="refuses its golden request"):
        place.deployments.ask_golden(NAME)


@pytest.mark.faults
def test_a_request_that_kills_the_service_is_given_up(place: Place) -> None:
    url = place.roll_out(place.release("1"))
    answer = httpx.post(f"{url}/die", headers={"X-Request-ID": "deadly"}, timeout=60)
    assert answer.status_code == 502
    assert answer.json()["request_id"] == "deadly"
    assert place.live() == "1"


@pytest.mark.faults
def test_it_keeps_serving_when_who_rolled_it_out_is_killed(place: Place) -> None:
    release = place.release("1")
    script = f"""
import os, signal
from resources.deployments.local import LocalDeployments
from resources.deployments.release import Release
deployments = LocalDeployments(home={place.deployments.home!r})
deployments.roll_out({NAME!r}, Release(**{release.to_json()!r}))
os.killpg(0, signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], start_new_session=True)
    assert done.returncode == -signal.SIGKILL
    assert place.live() == "1"
    place.roll_out(place.release("2"))
    assert place.live() == "2"


@pytest.mark.faults
def test_a_killed_supervisor_leaves_nothing_and_the_next_resumes_at_the_same_address(
    place: Place,
) -> None:
    url = place.roll_out(place.release("1"))
    place.roll_out(place.release("2"))
    os.kill(place.folder.supervisor(), signal.SIGKILL)
    until(lambda: place.processes() == [])
    status = place.deployments.status(NAME)
    assert not status.ready
    assert "nobody supervises" in status.problem
    with pytest.raises(DeploymentError, match="this one is broken"):
        place.deployments.roll_out(NAME, place.release("3", broken=""))
    assert place.live() == "2"
    resumed = place.deployments.roll_back(NAME)
    assert (resumed.url, place.live()) == (url, "1")


# What a client does is some hundred lines, most of them while it waits.
_KILLED_AT = """
import os, signal, sys
from pathlib import Path
from resources.deployments.folder import Folder

left = int(sys.argv[2])

def count(frame, event, arg):
    global left
    if "/resources/" not in frame.f_code.co_filename:
        return None
    if event == "line":
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return count

sys.settrace(count)
Folder(Path(sys.argv[1])).ask("roll_out", 60, release=RELEASE, port=None, standby=True)
"""


@pytest.mark.faults
def test_killed_at_any_line_and_run_again_it_ends_the_same(place: Place) -> None:
    before = None
    lines = [6, 18, 30, 45, 60, 100]
    for n, line in enumerate(lines):
        release = place.release(str(n + 1))
        script = f"RELEASE = {release.to_json()!r}\n{_KILLED_AT}"
        killed = subprocess.run([sys.executable, "-c", script, str(place.folder.path), str(line)])
        assert killed.returncode == -signal.SIGKILL
        status = place.deployments.roll_out(NAME, release)
        assert (status.live, status.previous) == (release, before)
        assert place.live() == release.model_version
        before = release
    assert len(place.processes()) == 3  # supervisor, live, standby


def test_stopped_it_can_be_rolled_back_to(place: Place) -> None:
    url = place.roll_out(place.release("1"))
    place.deployments.stop(NAME)
    assert place.processes() == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
    status = place.deployments.roll_back(NAME)
    assert (status.live, status.url) == (place.release("1"), url)


def test_serves_on_the_port_that_is_wanted_or_says_why_not(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        wanted = LocalDeployments(home=place.deployments.home, ports={NAME: port})
        with pytest.raises(DeploymentError, match=rf"cannot listen on 127\.0\.0\.1:{port}"):
            wanted.roll_out(NAME, place.release("1"))
    assert wanted.roll_out(NAME, place.release("1")).url == f"http://127.0.0.1:{port}"
    moved = LocalDeployments(home=place.deployments.home, ports={NAME: bento.free_port()})
    with pytest.raises(DeploymentError, match="stop it first"):
        moved.roll_out(NAME, place.release("2"))
