"""The small resources, and the environments they make up."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from resources import resources_for
from resources.clock import Clock
from resources.compute.base import Compute
from resources.files import Files
from resources.home import home
from resources.images import Images
from resources.registry import Registry
from resources.tables import Tables
from resources.tracking import Tracking

HEAVY = {
    "bentoml", "boto3", "deltalake", "evidently", "kubernetes", "matplotlib", "mlflow", "numpy",
    "optuna", "pandas", "pyarrow", "ray", "scipy", "skops", "sklearn",
}  # fmt: skip


def test_everything_lies_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLOPS_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert home() == tmp_path / ".mlops"
    assert home("tables") == tmp_path / ".mlops" / "tables"
    monkeypatch.setenv("MLOPS_HOME", "elsewhere")
    assert home("mlflow", "mlflow.db") == tmp_path / "elsewhere" / "mlflow" / "mlflow.db"
    local = resources_for("local")
    assert local["tables"].uri == str(tmp_path / "elsewhere" / "tables")
    assert local["files"].uri == str(tmp_path / "elsewhere" / "artifacts")
    assert local["images"].home == str(tmp_path / "elsewhere" / "bentoml")
    database = f"sqlite:///{tmp_path}/elsewhere/mlflow/mlflow.db"
    assert local["tracking"].tracking_uri == local["registry"].tracking_uri == database
    assert local["tracking"].artifacts == str(tmp_path / "elsewhere" / "mlflow" / "artifacts")


def test_an_unknown_environment_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no environment 'moon'.* MLOPS_ENV .*local"):
        resources_for("moon")


def test_assets_ask_for_what_a_resource_is_not_for_how_it_works() -> None:
    @dg.asset
    def asset(
        clock: Clock,
        compute: Compute,
        files: Files,
        images: Images,
        registry: Registry,
        tables: Tables,
        tracking: Tracking,
    ) -> None: ...

    definitions = dg.Definitions([asset], resources=resources_for("local"))
    dg.Definitions.validate_loadable(definitions)


def test_every_setting_is_described() -> None:
    silent = [
        f"{name}.{setting}"
        for name, resource in resources_for("local").items()
        for setting, field in type(resource).model_fields.items()
        if not (field.description or "").endswith(".")
    ]
    assert silent == []


def test_tables_and_files_lie_where_they_are_told_to(tmp_path: Path) -> None:
    tables = Tables(uri=str(tmp_path / "tables")).store()
    tables.overwrite("parcels/dataset", pd.DataFrame({"partition": ["a"], "n": [1]}), ["a"])
    assert (tmp_path / "tables" / "parcels" / "dataset" / "_delta_log").is_dir()
    Files(uri=str(tmp_path / "files")).store().write("parcels/report.html", b"<p>")
    assert (tmp_path / "files" / "parcels" / "report.html").read_bytes() == b"<p>"


def test_the_clock_tells_the_present_in_utc() -> None:
    before = datetime.now(UTC)
    now = Clock().now()
    assert before <= now <= datetime.now(UTC)
    assert now.tzinfo is UTC


def test_a_fixed_clock_stands_still() -> None:
    clock = Clock(fixed="2013-04-01T00:00:00-04:00")
    assert clock.now() == clock.now() == datetime(2013, 4, 1, 4, tzinfo=UTC)


@pytest.mark.parametrize("fixed", ["2013-04-01T00:00:00", "yesterday"])
def test_a_clock_without_a_definite_moment_is_refused(fixed: str) -> None:
    with pytest.raises(ValueError, match=f"{fixed}"):
        Clock(fixed=fixed)


def test_resources_load_nothing_heavy() -> None:
    code = (
        "import json, sys; from resources import resources_for; resources_for('local');"
        "print(json.dumps(list(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert HEAVY.intersection(json.loads(done.stdout)) == set()


def test_a_worker_needs_no_dagster() -> None:
    code = (
        "import json, sys; import resources.compute.entrypoint, resources.delta;"
        "print(json.dumps(list(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert (HEAVY | {"dagster"}).intersection(json.loads(done.stdout)) == set()
