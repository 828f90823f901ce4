import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import dagster as dg
import mlflow
import mlflow.data
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from resources.mlflow_client import client
from resources.tracking import ASSET_KEY, PARENT, PARTITION, Tracking, tags_of

TAGS = {ASSET_KEY: "parcels/candidate", PARTITION: "2013-04-01"}


@pytest.fixture
def experiment(request: pytest.FixtureRequest) -> str:
    """A name of the test's own, since tests share a database."""
    return request.node.name


@pytest.fixture
def stored(tracking: Tracking) -> MlflowClient:
    return client(tracking.tracking_uri)


def all_runs(stored: MlflowClient, experiment: str) -> list[Run]:
    return stored.search_runs([stored.get_experiment_by_name(experiment).experiment_id])


def test_a_run_that_succeeds_is_finished(
    tracking: Tracking, stored: MlflowClient, experiment: str
) -> None:
    with tracking.run(experiment, "candidate 2013-04-01", TAGS) as run:
        run.params({"depth": 3, "family": "tree"})
        run.metrics({"log_loss": 0.5})
        run.tags({"model_version": "4"})
        assert stored.get_run(run.id).info.status == "RUNNING"
    found = stored.get_run(run.id)
    assert found.info.status == "FINISHED"
    assert found.info.end_time is not None
    assert found.info.run_name == "candidate 2013-04-01"
    assert found.data.params == {"depth": "3", "family": "tree"}
    assert found.data.metrics == {"log_loss": 0.5}
    assert TAGS.items() <= found.data.tags.items()
    assert found.data.tags["model_version"] == "4"
    assert run.url.endswith(f"/#/experiments/{found.info.experiment_id}/runs/{run.id}")


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED")],
)
def test_a_run_that_does_not_succeed_says_how_it_ended(
    tracking: Tracking,
    stored: MlflowClient,
    experiment: str,
    error: type[BaseException],
    status: str,
) -> None:
    with pytest.raises(error), tracking.run(experiment, "candidate", TAGS) as run:
        raise error
    assert stored.get_run(run.id).info.status == status


def test_partitions_and_retries_have_runs_of_their_own(
    tracking: Tracking, stored: MlflowClient, experiment: str
) -> None:
    other = TAGS | {PARTITION: "2013-04-08"}
    with tracking.run(experiment, "a", TAGS) as first, tracking.run(experiment, "b", other) as run:
        first.params({"depth": 3})
        run.params({"depth": 4})
    with tracking.run(experiment, "a", TAGS) as retry:
        retry.params({"depth": 5})
    depths = {run.info.run_id: run.data.params["depth"] for run in all_runs(stored, experiment)}
    assert depths == {first.id: "3", run.id: "4", retry.id: "5"}


def test_children_are_finished_runs_below_theirs(
    tracking: Tracking, stored: MlflowClient, experiment: str
) -> None:
    with tracking.run(experiment, "candidate", TAGS) as run:
        child = run.child("trial 1", {"depth": 3}, {"log_loss": 0.5})
    found = stored.get_run(child)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "trial 1"
    assert found.data.tags[PARENT] == run.id
    assert found.data.params == {"depth": "3"}
    assert found.data.metrics == {"log_loss": 0.5}


def test_takes_more_values_than_mlflow_takes_at_once(
    tracking: Tracking, stored: MlflowClient, experiment: str
) -> None:
    params = {f"p{n}": str(n) for n in range(250)}
    metrics = {f"m{n}": float(n) for n in range(130)}
    with tracking.run(experiment, "candidate", TAGS) as run:
        run.params(params)
        run.metrics(metrics)
    data = stored.get_run(run.id).data
    assert data.params == params
    assert data.metrics == metrics


def test_keeps_files(
    tracking: Tracking, stored: MlflowClient, experiment: str, mlflow_home: str, tmp_path: Path
) -> None:
    with tracking.run(experiment, "candidate", TAGS) as run:
        run.file("report.html", b"<p>")
        run.file("plots/calibration.png", b"\x89PNG")
    assert Path(stored.download_artifacts(run.id, "report.html")).read_bytes() == b"<p>"
    plot = stored.download_artifacts(run.id, "plots/calibration.png")
    assert Path(plot).read_bytes() == b"\x89PNG"
    assert stored.get_run(run.id).info.artifact_uri.startswith(f"{mlflow_home}/artifacts/")


def test_records_which_data_were_read(
    tracking: Tracking, stored: MlflowClient, experiment: str
) -> None:
    with tracking.run(experiment, "candidate", TAGS) as run:
        run.dataset(
            "parcels/features",
            uri="/tables/parcels/features",
            version=7,
            digest="0123456789abcdef",
            schema={"distance": "float", "handed_in": "timestamp"},
        )
    (found,) = stored.get_run(run.id).inputs.dataset_inputs
    assert found.dataset.name == "parcels/features"
    assert found.dataset.digest == "0123456789abcdef"
    assert [(tag.key, tag.value) for tag in found.tags] == [("mlflow.data.context", "training")]
    source = mlflow.data.get_source(found)
    assert source.to_dict() == {"path": "/tables/parcels/features", "delta_table_version": 7}
    assert json.loads(found.dataset.schema) == {
        "mlflow_colspec": [
            {"name": "distance", "type": "double"},
            {"name": "handed_in", "type": "datetime"},
        ]
    }


KILLED = """
import os, signal, sys
from mlops_assets_tests.resources.test_tracking import TAGS
from resources.tracking import PARENT, Tracking

tracking = Tracking(tracking_uri=sys.argv[1], artifacts=sys.argv[2])
with tracking.run(sys.argv[3], "candidate", TAGS) as run:
    run._client.create_run(run.experiment_id, tags={PARENT: run.id})
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.faults
def test_what_a_killed_process_left_running_is_closed(
    tracking: Tracking, stored: MlflowClient, experiment: str
) -> None:
    arguments = [tracking.tracking_uri, tracking.artifacts, experiment]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments])
    assert killed.returncode == -signal.SIGKILL
    assert [run.info.status for run in all_runs(stored, experiment)] == ["RUNNING", "RUNNING"]
    with (
        tracking.run(experiment, "other", TAGS | {PARTITION: "2013-04-08"}),
        tracking.run(experiment, "evaluation", TAGS | {ASSET_KEY: "parcels/evaluation"}),
    ):
        running = [r for r in all_runs(stored, experiment) if r.info.status == "RUNNING"]
        assert len(running) == 4, "runs of other assets and partitions are left alone"
    with tracking.run(experiment, "candidate", TAGS):
        pass
    statuses = sorted(run.info.status for run in all_runs(stored, experiment))
    assert statuses == ["FINISHED", "FINISHED", "FINISHED", "KILLED", "KILLED"]


def test_tags_link_back_to_dagster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_DAGSTER_UI", "https://dagster.example")
    seen: list[dict[str, str]] = []
    days = dg.DailyPartitionsDefinition("2013-04-01", end_date="2013-05-01")

    @dg.asset(
        key_prefix="parcels",
        code_version="3",
        partitions_def=days,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def features(context: dg.AssetExecutionContext) -> None:
        seen.append(tags_of(context))

    run = dg.materialize([features], partition_key="2013-04-02", tags={"dagster/backfill": "b1"})
    assert seen.pop() == {
        ASSET_KEY: "parcels/features",
        PARTITION: "2013-04-02",
        "dagster.run_id": run.run_id,
        "dagster.url": f"https://dagster.example/runs/{run.run_id}",
        "dagster.backfill_id": "b1",
        "dagster.code_version": "3",
    }
    span = {
        "dagster/asset_partition_range_start": "2013-04-02",
        "dagster/asset_partition_range_end": "2013-04-09",
    }
    dg.materialize([features], tags=span)
    assert seen.pop()[PARTITION] == "2013-04-02...2013-04-09"


def test_tags_of_an_asset_without_partitions() -> None:
    @dg.asset
    def deployment(context: dg.AssetExecutionContext) -> None:
        assert tags_of(context)[PARTITION] == ""

    dg.materialize([deployment])


def test_a_database_that_another_process_made_meanwhile_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "mlflow" / "mlflow.db"
    link = os.link

    def slower(draft: Path, target: Path) -> None:
        with closing(sqlite3.connect(shutil.copy(draft, target))) as theirs, theirs:
            theirs.execute("UPDATE experiments SET name = 'theirs'")
        link(draft, target)

    monkeypatch.setattr("os.link", slower)
    (experiment,) = client(f"sqlite:///{database}").search_experiments()
    assert experiment.name == "theirs"


def test_no_one_sees_half_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def killed(draft: Path, database: Path) -> None:
        assert draft.stat().st_size > 0
        raise Killed

    database = tmp_path / "mlflow" / "mlflow.db"
    with monkeypatch.context() as patched:
        patched.setattr("os.link", killed)
        with pytest.raises(Killed):
            client(f"sqlite:///{database}")
    assert list(database.parent.iterdir()) == []
    assert len(client(f"sqlite:///{database}").search_experiments()) == 1
