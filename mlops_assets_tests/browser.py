"""What `mlops-assets ui` serves, seen by a headless Chromium."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
import psutil
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from mlops_assets.operations.ui import WORKSPACE

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
STARTS_WITHIN, SHOWS_WITHIN, ENDS_WITHIN = 120, 60, 40
NODES = """
return Array.from(document.querySelectorAll("svg foreignObject > *"), (node) => {
  const box = node.getBoundingClientRect();
  return {text: node.innerText.trim(), box: [box.left, box.top, box.right, box.bottom]};
}).filter((node) => node.text)
"""

Found = TypeVar("Found")
Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


def absent() -> list[str]:
    """What must be installed to look at pages, as Debian calls it."""
    found = {"chromium": CHROMIUM, "chromium-driver": CHROMEDRIVER}
    return [package for package, path in found.items() if path is None]


@dataclass(frozen=True)
class Served:
    """A running `mlops-assets ui`: where it listens, and the process that started it all."""

    dagster: str
    mlflow: str
    process: psutil.Popen

    def processes(self) -> list[psutil.Process]:
        """All that run, the command itself included."""
        return [self.process, *self.process.children(recursive=True)]

    def stop(self) -> Sequence[psutil.Process]:
        """Interrupt the command by SIGTERM; return those of its processes that live on."""
        running = self.processes()
        self.process.terminate()
        return psutil.wait_procs(running, timeout=ENDS_WITHIN)[1]


@contextmanager
def served(home: Path, environment: Mapping[str, str]) -> Iterator[Served]:
    """Serve what lies in a home on free ports; raises if the command ends, or leaves any process.

    What the command prints goes to `ui.log` in the home.
    """
    port, mlflow_port = _free_ports(2)
    command = Path(sys.executable).with_name("mlops-assets")
    variables = {"MLOPS_HOME": str(home), "DAGSTER_HOME": str(home / "dagster"), **environment}
    with (home / "ui.log").open("wb") as log:
        process = psutil.Popen(
            [command, "ui", "--port", str(port), "--mlflow-port", str(mlflow_port)],
            env={**os.environ, **variables},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        found = Served(f"http://localhost:{port}", f"http://localhost:{mlflow_port}", process)
        try:
            _answers(found.process, f"{found.mlflow}/health")
            _answers(found.process, f"{found.dagster}/server_info")
            yield found
        finally:
            left = found.stop() if process.is_running() else []
            for orphan in left:
                orphan.kill()
        if left:
            raise RuntimeError(f"mlops-assets ui was interrupted and left {left}")


@contextmanager
def webserver(home: Path) -> Iterator[str]:
    """The address of a Dagster UI on a home, without the daemon: nothing goes on from there."""
    (port,) = _free_ports(1)
    command = ["-m", "dagster_webserver", "--workspace", str(WORKSPACE), "--port", str(port)]
    process = psutil.Popen(
        [sys.executable, *command],
        env={**os.environ, "MLOPS_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _answers(process, f"http://localhost:{port}/server_info")
        yield f"http://localhost:{port}"
    finally:
        process.terminate()
        process.wait()


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("localhost", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _answers(process: psutil.Popen, url: str) -> None:
    """Wait until it does."""
    until = time.monotonic() + STARTS_WITHIN
    while process.poll() is None and time.monotonic() < until:
        try:
            httpx.get(url, timeout=5).raise_for_status()
        except httpx.TransportError:
            time.sleep(0.3)
        else:
            return
    raise RuntimeError(f"{url} did not answer; mlops-assets ui: {process.poll() or 'runs'}")


@contextmanager
def chromium(width: int = 1600, height: int = 1200) -> Iterator[Chrome]:
    """A browser whose pages have that size in pixels."""
    options = ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for argument in (
        "--headless=new",
        "--no-sandbox",  # containers run it as root
        "--disable-dev-shm-usage",  # and give it little shared memory
        "--force-device-scale-factor=1",
        "--hide-scrollbars",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(CHROMEDRIVER))
    try:
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        yield driver
    finally:
        driver.quit()


def wait(driver: Chrome, condition: Callable[[Chrome], Found]) -> Found:
    """What the condition finds, once it finds something; raises TimeoutException."""
    return WebDriverWait(driver, SHOWS_WITHIN).until(condition)


def errors(driver: Chrome) -> list[str]:
    """What pages complained of since this was asked last."""
    log = driver.execute("getLog", {"type": "browser"})["value"]
    return [line["message"] for line in log if line["level"] == "SEVERE"]


@dataclass(frozen=True)
class Node:
    """An asset as the graph shows it."""

    text: str
    box: Box

    @property
    def name(self) -> str:
        return self.text.splitlines()[0]


def open_lineage(driver: Chrome, dagster: str, group: str) -> None:
    """Open the graph of an asset group."""
    driver.get(f"{dagster}/locations/mlops_assets/asset-groups/{group}/lineage")


def nodes(driver: Chrome) -> list[Node]:
    """The nodes of the graph that is open, as far as they are drawn."""
    return [Node(found["text"], tuple(found["box"])) for found in driver.execute_script(NODES)]
