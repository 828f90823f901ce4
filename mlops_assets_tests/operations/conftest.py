"""Commands are run as people run them, in a home of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

LIVE = """
from mlops_assets.definitions import defs
from mlops_assets.operations.runs import instance, run
with instance() as dagster:
    for job, days in (
        ("ingest", ["2024-01-01", "2024-02-11"]), ("train", ["2024-02-05"]),
        ("predict", ["2024-02-05", "2024-02-11"]), ("monitor", ["2024-02-05"]),
    ):
        assert run(defs, f"parcels_{job}", days, instance=dagster, title=job).success
"""


@dataclass(frozen=True)
class Home:
    """A directory where everything generated lies."""

    path: Path

    @property
    def env(self) -> dict[str, str]:
        ours = {"MLOPS_HOME": str(self.path), "MLOPS_USE_CASES": "mlops_assets_tests.toy_use_case"}
        return {k: v for k, v in os.environ.items() if k != "DAGSTER_HOME"} | ours

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        return self._run([sys.executable, "-W", "ignore", "-c", code])

    def command(self, *args: str) -> subprocess.CompletedProcess[str]:
        """`mlops-assets` with these arguments."""
        return self._run([str(Path(sys.executable).with_name("mlops-assets")), *args])

    def _run(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(argv, capture_output=True, text=True, env=self.env)


@pytest.fixture(scope="session")
def lived_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home in which the toy has gone through all of its life."""
    home = Home(tmp_path_factory.mktemp("home"))
    done = home.python(LIVE)
    assert done.returncode == 0, done.stdout + done.stderr
    return home


@pytest.fixture
def empty_home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")
