"""Builds Bentos from given files, and runs them."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

from resources.artifacts import TamperedError, canonical_json, sha256

READY_TIMEOUT = 60.0
STOP_TIMEOUT = 15.0
GOLDEN = "golden-"
"""How ids of golden requests begin, so that logs tell them from clients' requests."""
# The builder's package index must not travel with a Bento, nor slow its build down.
_PRIVATE = ("PIP_", "UV_", "BENTOML_", "MLOPS_SERVICE_", "MLOPS_PREDICTION_LOG")


class BuildError(RuntimeError):
    """BentoML could not build the service."""


class ServiceError(RuntimeError):
    """A service did not start, or did not answer as it must."""


@dataclass(frozen=True, kw_only=True)
class BentoSpec:
    """What a Bento is made of."""

    name: str
    model_version: str
    service: str
    """Import path of the BentoML service within `files`."""
    files: Mapping[str, bytes]
    """Content by path."""
    model: str
    """Which of the files is the model."""
    model_sha256: str
    """What was recorded when the model was trained."""
    packages: Sequence[str]
    """Distributions the code needs; they and all they require are pinned as installed here."""
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class BuiltService:
    """A Bento in the store."""

    tag: str
    path: str
    size: int
    """Bytes."""
    digest: str
    """SHA-256 over all files, but for the time of the build."""
    model_sha256: str


def build(spec: BentoSpec, home: Path) -> BuiltService:
    """The Bento of these files in the BentoML home directory `home`, built unless it is there.

    Its tag names its content: `<name>:<model version>-<hash of all that went in>`. It appears whole
    or not at all. Raises TamperedError where the model is not the one that was recorded, or the
    Bento in the store is no longer what was built; BuildError where BentoML fails.
    """
    _verify_model(spec)
    requirements = _requirements(spec.packages)
    version = f"{spec.model_version}-{_hash(spec, requirements)[:12]}"
    bento = home / "bentos" / spec.name / version
    bento.parent.mkdir(parents=True, exist_ok=True)
    with _lock(home):
        if not bento.exists():
            _build(spec, version, requirements, home / ".build", bento)
    _verify_files(bento, spec.files)
    return BuiltService(
        tag=f"{spec.name}:{version}",
        path=str(bento),
        size=sum(path.stat().st_size for path in _files(bento)),
        digest=digest(bento),
        model_sha256=spec.model_sha256,
    )


def digest(bento: Path) -> str:
    """Names the content of a Bento: equal for all builds of the same files."""
    total = hashlib.sha256()
    for path in _files(bento):
        data = path.read_bytes()
        if path.name == "bento.yaml":
            lines = data.splitlines(keepends=True)
            data = b"".join(line for line in lines if not line.startswith(b"creation_time:"))
        total.update(f"{path.relative_to(bento).as_posix()} {sha256(data)}\n".encode())
    return total.hexdigest()


def serve_command(
    bento: str | Path,
    port: int,
    *,
    home: str | Path,
    host: str = "127.0.0.1",
    prediction_log: str | Path | None = None,
    token: str | None = None,
) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment of a process that serves a Bento.

    `home` is a directory of this process alone: BentoML keeps the metrics of its workers there and
    empties it at the start. SIGTERM ends it in order, with the prediction log written.
    """
    argv = [sys.executable, "-m", "bentoml", "serve", str(Path(bento).resolve())]
    env = _environment(Path(home)) | {"PYTHONDONTWRITEBYTECODE": "1"}
    env.setdefault("OMP_NUM_THREADS", "1")  # a thread a core only slows the score of a row down
    if prediction_log is not None:
        env["MLOPS_PREDICTION_LOG"] = str(Path(prediction_log).resolve())
    if token is not None:
        env["MLOPS_SERVICE_TOKEN"] = token
    return [*argv, "--host", host, "--port", str(port)], env


@dataclass(frozen=True)
class Running:
    """A Bento being served."""

    url: str
    process: subprocess.Popen[bytes]
    """BentoML's supervisor, parent of the workers; they end when it does."""


@contextmanager
def serving(bento: str | Path, timeout: float = READY_TIMEOUT, **options: Any) -> Iterator[Running]:
    """Serve a Bento on a local port for as long as the block lasts.

    `options` as in `serve_command`. Raises ServiceError, with the log, where it doesn't get ready.
    """
    with tempfile.TemporaryDirectory(prefix="mlops-serve-") as home:
        port = free_port()
        argv, env = serve_command(bento, port, home=home, **options)
        log = Path(home) / "service.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                argv, env=env, cwd=home, stdout=output, stderr=output, start_new_session=True
            )
        try:
            running = Running(f"http://127.0.0.1:{port}", process)
            _wait_until_ready(running, log, timeout)
            yield running
        finally:
            stop(process)


def ask_golden(bento: str | Path, timeout: float = READY_TIMEOUT) -> list[float]:
    """What the Bento, really served, answers to its golden request: scores in the rows' order."""
    with serving(bento, timeout) as running:
        return ask(running.url, bento, timeout)[1]


def ask(
    url: str, bento: str | Path, timeout: float = READY_TIMEOUT, *, token: str | None = None
) -> tuple[str, list[float]]:
    """What a running service answers to a Bento's golden request: model version and scores.

    Raises ServiceError where it refuses, httpx.TransportError where it cannot be reached.
    """
    import httpx

    golden = json.loads((Path(bento) / "src" / "golden.json").read_bytes())
    answer = httpx.post(
        f"{url}/predict_batch",
        json=golden["request"],
        headers={"X-Request-ID": f"{GOLDEN}{uuid.uuid4()}"}
        | ({} if token is None else {"Authorization": f"Bearer {token}"}),
        timeout=timeout,
    )
    if answer.status_code != 200:
        raise ServiceError(f"{bento} refuses its golden request: {answer.text}")
    content = answer.json()
    return content["model_version"], [one["score"] for one in content["predictions"]]


def stop(process: subprocess.Popen[bytes], timeout: float = STOP_TIMEOUT) -> None:
    """End a serving process and its workers, in order if they can."""
    import psutil

    family = []
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout)
    process.kill()
    for worker in family:  # each leads a session of its own, so no signal to a group reaches them
        with suppress(psutil.NoSuchProcess):
            worker.kill()
    process.wait()


def free_port() -> int:
    """A local port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _verify_model(spec: BentoSpec) -> None:
    found = sha256(spec.files[spec.model])
    if found != spec.model_sha256:
        raise TamperedError(
            f"{spec.model} of {spec.name} {spec.model_version} has SHA-256 {found[:12]}…, recorded "
            f"was {spec.model_sha256[:12]}…; it was changed after it was trained: train it again"
        )


def _verify_files(bento: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        path = bento / "src" / name
        if not path.exists() or path.read_bytes() != data:
            raise TamperedError(
                f"{path} is not what was built; delete {bento} and materialise the service again"
            )


def _hash(spec: BentoSpec, requirements: Sequence[str]) -> str:
    """Names all that goes into a Bento."""
    content = {name: sha256(data) for name, data in spec.files.items()}
    return sha256(canonical_json([content, _bentofile(spec, requirements)]))


def _build(
    spec: BentoSpec, version: str, requirements: Sequence[str], scratch: Path, bento: Path
) -> None:
    """Build in `scratch`, which a killed build leaves behind, and move the result to its place."""
    shutil.rmtree(scratch, ignore_errors=True)
    for name, data in spec.files.items():
        path = scratch / "source" / PurePosixPath(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    bentofile = scratch / "bentofile.yaml"  # JSON is YAML
    bentofile.write_bytes(canonical_json(_bentofile(spec, requirements)))
    _bentoml_build(scratch, version)
    os.rename(scratch / "home" / "bentos" / spec.name / version, bento)
    shutil.rmtree(scratch)


def _bentofile(spec: BentoSpec, requirements: Sequence[str]) -> dict[str, Any]:
    return {
        "name": spec.name,
        "service": spec.service,
        "description": spec.description,
        "python": {"packages": list(requirements), "lock_packages": False},
    }


def _bentoml_build(scratch: Path, version: str) -> None:
    """In a process of its own: BentoML imports what it builds."""
    argv = [sys.executable, "-m", "bentoml", "build", "-f", str(scratch / "bentofile.yaml")]
    done = subprocess.run(
        [*argv, "--version", version, str(scratch / "source")],
        env=_environment(scratch / "home"),
        cwd=scratch,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise BuildError(f"bentoml build failed:\n{done.stdout}{done.stderr}")


def _environment(home: Path) -> dict[str, str]:
    ours = {name: text for name, text in os.environ.items() if not name.startswith(_PRIVATE)}
    return ours | {"BENTOML_HOME": str(home.resolve()), "BENTOML_DO_NOT_TRACK": "True"}


def _requirements(packages: Sequence[str]) -> list[str]:
    """The distributions and all they require, as installed here: `name==version`."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pinned: dict[str, str] = {}
    todo = [(Requirement(name), "") for name in packages]
    while todo:
        requirement, extra = todo.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        if name in pinned and not requirement.extras:
            continue
        found = metadata.distribution(name)
        pinned[name] = found.version
        todo += [
            (Requirement(text), extra)
            for text in found.requires or ()
            for extra in ("", *requirement.extras)
        ]
    pinned.pop("bentoml", None)  # it adds itself
    return [f"{name}=={pinned[name]}" for name in sorted(pinned)]


def _files(bento: Path) -> list[Path]:
    found = (path for path in bento.rglob("*") if path.is_file())
    return sorted(path for path in found if "__pycache__" not in path.parts)


@contextmanager
def _lock(home: Path) -> Iterator[None]:
    """One builder at a time; the lock of a killed one is free."""
    with (home / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _wait_until_ready(running: Running, log: Path, timeout: float) -> None:
    import httpx

    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and running.process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"{running.url}/readyz", timeout=5).status_code == 200:
                return
        time.sleep(0.1)
    code = running.process.poll()
    state = f"was not ready in {timeout:g} s" if code is None else f"exited with {code}"
    raise ServiceError(f"the service {state}:\n{log.read_text(errors='replace')[-5000:]}")
