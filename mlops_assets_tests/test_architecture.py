"""Who may import whom, and what loading the definitions may cost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = (
    "bentoml", "boto3", "deltalake", "evidently", "fsspec", "kubernetes", "matplotlib", "mlflow",
    "numpy._core", "optuna", "pandas.core", "pyarrow", "ray", "scipy", "skops", "sklearn", "upath",
)  # fmt: skip
"""Of numpy and pandas the part that a lazy module does not load."""


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint('\\n'.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["mlops_assets.definitions", "mlops_assets.cli", "resources"])
def test_nothing_heavy_is_imported(module):
    assert not loaded_by(f"import {module}").intersection(HEAVY)


def test_the_test_above_can_see_heavy_imports():
    assert "pandas.core" in loaded_by("import mlops_assets.ml.splits")


def test_a_worker_needs_no_dagster():
    code = "import mlops_assets.worker, mlops_assets.stages.predictions"
    assert not loaded_by(code).intersection({"dagster", "mlflow", "bentoml"})


def test_the_import_rules_hold():
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout
