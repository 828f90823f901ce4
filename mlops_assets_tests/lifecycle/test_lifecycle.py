"""The whole life cycle of the toy, as Dagster runs it: what passes, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator

import dagster as dg
import pytest
from sklearn.linear_model import LogisticRegression

from mlops_assets import ledger
from mlops_assets.use_cases import ModelFamily
from mlops_assets_tests.lifecycle.conftest import (
    DAYS,
    WEEK,
    Operator,
    failed_checks,
    materialized,
    why,
)
from mlops_assets_tests.toy import TOY, _pipeline, compute_features, fetch, variant
from resources.delta import DeltaStore

TRAIN = ["training_set", "candidate", "evaluation", "champion"]
NEXT = "2024-02-12"


@pytest.fixture(scope="module")
def lived(tmp_path_factory) -> Iterator[tuple[Operator, dict[str, dg.ExecuteInProcessResult]]]:
    """A toy that has gone through all of its life once."""
    with dg.DagsterInstance.ephemeral() as instance:
        operator = Operator(tmp_path_factory.mktemp("lived"), instance)
        runs = {
            "ingest": operator.ingest(),
            "train": operator.materialize([*TRAIN, "service"], WEEK),
            "predict": operator.materialize(["predictions"], WEEK, "2024-02-11"),
            "monitor": operator.materialize(["drift", "performance"], WEEK),
        }
        yield operator, runs


def champions(operator: Operator) -> list[ledger.Entry]:
    return ledger.entries(DeltaStore(str(operator.root / "tables")), operator.use_case)


def test_every_step_succeeds_and_passes_its_blocking_checks(lived):
    _, runs = lived
    for name, result in runs.items():
        assert result.success, (name, why(result))
    assert set.union(*map(materialized, runs.values())) == {
        "dataset", "features", "labels", "training_set", "candidate", "evaluation", "champion",
        "service", "predictions", "drift", "performance",
    }  # fmt: skip
    assert failed_checks(runs["ingest"]) <= {"freshness"}
    assert failed_checks(runs["train"]) == set()


def test_a_range_reports_each_partition_with_its_own_rows_and_version(lived):
    operator, _ = lived
    found = operator.instance.fetch_materializations(
        dg.AssetRecordsFilter(
            dg.AssetKey(["parcels", "features"]), asset_partitions=["2024-01-09"]
        ),
        limit=1,
    ).records[0]
    again = operator.materialize(["features"], "2024-01-09")
    (event,) = again.get_asset_materialization_events()
    tags = event.materialization.tags
    assert found.asset_materialization.metadata["rows"].value == 60
    assert found.asset_materialization.tags["dagster/data_version"] == tags["dagster/data_version"]
    assert found.asset_materialization.tags["dagster/code_version"] == tags["dagster/code_version"]


def test_each_partition_of_a_range_has_its_verdicts(lived):
    _, runs = lived
    found = runs["ingest"].get_asset_check_evaluations()
    days = {one.partition for one in found if one.check_name == "contract"}
    assert days == {None, *TOY.calendar.keys(*span())}


def span():
    return TOY.calendar.interval(DAYS[0])[0], TOY.calendar.interval(DAYS[1])[1]


def test_the_service_answers_with_the_models_numbers(lived):
    _, runs = lived
    (found,) = [
        c for c in runs["train"].get_asset_check_evaluations() if c.check_name == "golden_request"
    ]
    assert found.passed
    said, answered = found.description.split("; ")
    assert said.removeprefix("the model says ") == answered.removeprefix("the service answers ")


def test_reports_and_plots_are_in_the_metadata(lived):
    _, runs = lived
    for name, asset in (("train", "evaluation"), ("monitor", "drift"), ("monitor", "performance")):
        metadata = next(
            event.materialization.metadata
            for event in runs[name].get_asset_materialization_events()
            if event.asset_key.path[-1] == asset
        )
        pictures = [v for v in metadata.values() if str(v.value).startswith("![")]
        tables = [v for v in metadata.values() if str(v.value).startswith("|")]
        assert pictures, asset
        assert tables, asset
        assert str(metadata["mlflow"].value).startswith("http"), asset


def test_the_model_is_tracked_with_its_trials_and_inputs(lived):
    operator, _ = lived
    from mlflow import MlflowClient

    mlflow = MlflowClient(f"sqlite:///{operator.root / 'mlflow.db'}")
    experiment = mlflow.get_experiment_by_name("parcels").experiment_id
    runs = mlflow.search_runs([experiment])
    assert {run.info.status for run in runs} == {"FINISHED"}
    (parent,) = [run for run in runs if run.info.run_name == f"candidate {WEEK}"]
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == TOY.trials * len(TOY.families)
    assert {found.dataset.name for found in parent.inputs.dataset_inputs} == {"features", "labels"}
    assert parent.data.tags["dagster.code_version"]
    assert parent.data.tags["version.scikit-learn"]
    files = {found.path for found in mlflow.list_artifacts(parent.info.run_id)}
    assert "model.json" in files
    assert any(name.endswith(".png") for name in files)


def test_running_again_changes_nothing(lived):
    operator, _ = lived
    before = champions(operator)
    result = operator.materialize(TRAIN, WEEK)
    assert result.success, why(result)
    after = champions(operator)
    assert len(after) == len(before) == 1
    assert after[0].model_sha256 == before[0].model_sha256
    assert after[0].model_version == before[0].model_version


def test_a_changed_gate_result_does_not_promote(lived):
    operator, _ = lived
    path = operator.root / "artifacts" / "parcels" / "evaluation" / WEEK / "gate.json"
    kept = path.read_bytes()
    path.write_bytes(json.dumps(json.loads(kept) | {"note": "trust me"}).encode())
    try:
        result = operator.materialize(["champion"], WEEK)
    finally:
        path.write_bytes(kept)
    assert not result.success
    assert "has changed since it was made" in why(result)


def test_a_changed_model_file_is_not_promoted(lived):
    operator, _ = lived
    folder = operator.root / "artifacts" / "parcels" / "candidate" / WEEK
    (path,) = folder.glob("*/model.skops")
    kept = path.read_bytes()
    path.write_bytes(kept[:-1] + b"!")
    try:
        result = operator.materialize(["champion"], WEEK)
    finally:
        path.write_bytes(kept)
    assert not result.success
    assert "was changed after it was written" in why(result)


def test_a_candidate_worse_than_the_champion_is_refused(lived):
    operator, _ = lived
    before = champions(operator)
    lazy = ModelFamily("lazy", lambda t: {"C": t.suggest_float("C", 1e-3, 2e-3)}, _shy)
    operator.use_case = variant("parcels", families=(lazy,))
    try:
        trained = operator.materialize(TRAIN, NEXT)
        forced = operator.materialize(["champion"], NEXT)
    finally:
        operator.use_case = variant("parcels")
    assert "gate_log_loss_vs_champion" in failed_checks(trained)
    assert "champion" not in materialized(trained)
    assert not forced.success
    assert "was not passed: gate_log_loss_vs_champion" in why(forced)
    assert champions(operator) == before


def _shy(params, seed):
    return _pipeline(LogisticRegression(C=params["C"], random_state=seed))


def test_a_leaked_feature_stops_the_run(operator):
    def leaky(rows, history):
        return compute_features(rows, history).assign(late_share=rows["late"].astype("float64"))

    operator.use_case = variant("leaky_life", compute_features=leaky)
    operator.materialize(["dataset"], *DAYS)
    result = operator.materialize(["features", "predictions"], *DAYS)
    assert failed_checks(result) == {"no_leakage"}
    assert materialized(result) == {"features"}


def test_a_model_worse_than_the_dummy_stops_the_run(operator):
    def noise(start, end):
        frame = fetch(start, end)
        return frame.assign(late=frame["parcel"].str[-1].astype(int) % 2)

    operator.use_case = variant("noise_life", fetch=noise)
    operator.ingest()
    result = operator.materialize(TRAIN, WEEK)
    assert failed_checks(result) == {"sanity"}
    assert materialized(result) == {"training_set", "candidate"}


def test_a_bad_day_stops_the_run(operator):
    operator.use_case = variant("empty_life", fetch=lambda s, e: fetch(s, e).iloc[:0])
    result = operator.ingest()
    assert "contract" in failed_checks(result)
    assert materialized(result) == {"dataset"}
