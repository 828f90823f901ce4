from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline

from mlops_assets import ledger
from mlops_assets.ml import models
from mlops_assets.ml.evaluation import permutation_importance
from mlops_assets.stages import candidate, training_set
from mlops_assets.use_cases import ModelFamily, Rule, UseCase
from mlops_assets_tests.stages.conftest import Workplace
from mlops_assets_tests.toy import TOY, variant
from resources.artifacts import TamperedError, canonical_json, sha256
from resources.delta import MissingDataError

BEFORE, WEEK = "2024-02-05", "2024-02-12"
PARCELS = variant("evaluated_parcels", train_window=timedelta(weeks=5))

Fit = Callable[[pd.DataFrame, pd.Series], Any]


def good(features: pd.DataFrame, label: pd.Series) -> Any:
    return _build({"C": 1.0}).fit(features, label)


def poor(features: pd.DataFrame, label: pd.Series) -> Any:
    """A model that was told the wrong distances."""
    wrong = features["distance"].sample(frac=1, random_state=0).to_numpy()
    return _build({"C": 1.0}).fit(features.assign(distance=wrong), label)


def _build(params: dict[str, float]) -> Pipeline:
    return TOY.families[0].build(params, 0)


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ingested")
    work = Workplace(root, PARCELS)
    for name in ("dataset", "features", "labels"):
        work.run(name, work.days("2024-01-01", 42))
    for week in (BEFORE, WEEK):
        work.run("training_set", [week])
    return root


@pytest.fixture
def work(ingested: Path, tmp_path: Path) -> Workplace:
    return Workplace(shutil.copytree(ingested, tmp_path / "work"), PARCELS)


def train(work: Workplace, week: str, fit: Fit) -> str:
    """Leave a model as the candidate of a week, as the training stage would."""
    stage, use_case = work.stage("candidate", [week]), work.use_case
    pinned = training_set.load(stage, week)
    rows, held_out = pinned.split(use_case.holdout)
    label = rows[use_case.label].astype("float64")
    model = fit(rows[use_case.feature_names], label)
    data = models.dump(model)
    card = {
        "sha256": sha256(data),
        "family": "linear",
        "features": use_case.feature_names,
        "training_set": pinned.hash,
        "importance": permutation_importance(
            model,
            held_out[use_case.feature_names],
            held_out[use_case.label].to_numpy("float64"),
            use_case.objective,
        ),
    }
    files = {candidate.MODEL: data, candidate.CARD: canonical_json(card)}
    candidate._write(stage, card, files)
    return card["sha256"]


def promote(work: Workplace, week: str, model_sha256: str, version: str = "1") -> None:
    effective_at = PARCELS.calendar.week(week)[0]
    entry = ledger.Entry(
        action="promote",
        effective_at=effective_at,
        as_of=week,
        model_version=version,
        model_sha256=model_sha256,
        gate_sha256="",
        decided_at=effective_at,
        reason="",
        by="",
    )
    ledger.record(work.stage("champion", [week]).tables, work.use_case, entry)


def gate_of(work: Workplace) -> dict[str, Any]:
    stage = work.stage("evaluation", [WEEK])
    return stage.artifacts.read_json(stage.path("evaluation", WEEK, "gate.json"))


def report_of(work: Workplace) -> str:
    stage = work.stage("evaluation", [WEEK])
    return stage.artifacts.read(stage.path("evaluation", WEEK, "report.html")).decode()


def model_file(work: Workplace, week: str, digest: str) -> Path:
    stage = work.stage("candidate", [week])
    return Path(stage.artifacts.uri(candidate.path_of(stage, week, digest, candidate.MODEL)))


def test_the_first_champion_must_beat_the_dummy_and_the_floors(work):
    digest = train(work, WEEK, good)
    result = work.run("evaluation", [WEEK])
    gate, verdicts = gate_of(work), work.check("evaluation", [WEEK])
    assert result.outputs["passed"]
    assert gate["candidate_sha256"] == digest
    assert gate["champion"] is None
    assert [rule["skipped"] for rule in gate["rules"]] == [True, False, False]
    assert all(verdict.passed for verdict in verdicts.values())
    assert list(verdicts) == [rule.name for rule in PARCELS.gate]
    assert "no champion yet" in verdicts["gate_log_loss_vs_champion"].description


def test_a_first_model_without_skill_is_refused(work):
    train(work, WEEK, lambda x, y: _build({"C": 1e-9}).fit(x, y))
    assert not work.run("evaluation", [WEEK]).outputs["passed"]
    verdicts = work.check("evaluation", [WEEK])
    assert not verdicts["gate_log_loss_vs_dummy"].passed


def test_a_better_candidate_passes(work):
    promote(work, BEFORE, train(work, BEFORE, poor))
    train(work, WEEK, good)
    result = work.run("evaluation", [WEEK])
    assert result.outputs["passed"]
    numbers = result.outputs["metrics"]["log_loss"]
    assert numbers["candidate"] < numbers["champion"] < numbers["dummy"]
    assert numbers["gain_over_champion_low"] > 0
    assert gate_of(work)["champion"]["as_of"] == BEFORE
    assert not any(rule["skipped"] for rule in gate_of(work)["rules"])


@pytest.mark.parametrize(("before", "now"), [(good, poor), (good, good)])
def test_a_worse_candidate_and_a_slightly_different_one_are_refused(work, before, now):
    promote(work, BEFORE, train(work, BEFORE, before))
    train(work, WEEK, now)
    assert not work.run("evaluation", [WEEK]).outputs["passed"]
    verdicts = work.check("evaluation", [WEEK])
    assert not verdicts["gate_log_loss_vs_champion"].passed
    assert verdicts["gate_log_loss_vs_dummy"].passed


def test_the_champion_again_is_no_improvement(work):
    model = []

    def once(x, y):
        model.append(model[0] if model else good(x, y))
        return model[0]

    digest = train(work, BEFORE, once)
    promote(work, BEFORE, digest)
    assert train(work, WEEK, once) == digest
    work.run("evaluation", [WEEK])
    verdict = work.check("evaluation", [WEEK])["gate_log_loss_vs_champion"]
    assert not verdict.passed
    assert verdict.metadata["value"] == 0


def test_a_candidate_is_never_its_own_opponent(work):
    """Once promoted, it is evaluated again: against its predecessor, with the same result."""
    promote(work, BEFORE, train(work, BEFORE, poor))
    digest = train(work, WEEK, good)
    first = work.run("evaluation", [WEEK])
    promote(work, WEEK, digest, version="2")
    second = work.run("evaluation", [WEEK])
    assert gate_of(work)["champion"]["model_version"] == "1"
    assert second.data_version == first.data_version
    assert second.outputs == first.outputs


def test_a_gate_that_judged_another_model_fails(work):
    train(work, WEEK, good)
    work.run("evaluation", [WEEK])
    train(work, WEEK, poor)
    verdicts = work.check("evaluation", [WEEK])
    assert [verdict.passed for verdict in verdicts.values()] == [False] * 3
    assert "the gate judged model" in verdicts["gate_log_loss_vs_dummy"].description


def test_a_rule_that_the_gate_has_not_judged_fails(work):
    train(work, WEEK, good)
    work.run("evaluation", [WEEK])
    try:
        variant(
            PARCELS.name,
            train_window=PARCELS.train_window,
            gate=(*PARCELS.gate, Rule(metric="brier", against="dummy")),
        )
        verdicts = work.check("evaluation", [WEEK])
    finally:
        variant(PARCELS.name, train_window=PARCELS.train_window)
    assert not verdicts["gate_brier_vs_dummy"].passed
    assert verdicts["gate_log_loss_vs_dummy"].passed


def test_a_check_without_an_evaluation_says_what_to_do(work):
    train(work, WEEK, good)
    with pytest.raises(MissingDataError, match="evaluation has no week 2024-02-12"):
        work.check("evaluation", [WEEK])


@pytest.mark.parametrize("week", [BEFORE, WEEK])
def test_a_model_that_was_changed_is_not_judged(work, week):
    digests = {BEFORE: train(work, BEFORE, poor), WEEK: train(work, WEEK, good)}
    promote(work, BEFORE, digests[BEFORE])
    file = model_file(work, week, digests[week])
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(TamperedError, match=r"model\.skops has SHA-256"):
        work.run("evaluation", [WEEK])


def test_a_candidate_of_other_rows_is_not_judged(work):
    train(work, WEEK, good)
    stage = work.stage("candidate", [WEEK])
    card = candidate.card(stage, WEEK) | {"training_set": "0" * 16}
    stage.artifacts.write_json(stage.path("candidate", WEEK, candidate.CARD), card)
    with pytest.raises(ValueError, match="was trained on training set 0000000000000000"):
        work.run("evaluation", [WEEK])


def test_a_champion_whose_feature_was_dropped_is_named(work):
    digest = train(work, BEFORE, poor)
    promote(work, BEFORE, digest)
    train(work, WEEK, good)
    stage = work.stage("candidate", [BEFORE])
    path = candidate.path_of(stage, BEFORE, digest, candidate.CARD)
    card = stage.artifacts.read_json(path)
    stage.artifacts.write_json(path, card | {"features": [*card["features"], "colour"]})
    with pytest.raises(ValueError, match="model of 2024-02-05 needs colour"):
        work.run("evaluation", [WEEK])


def test_a_holdout_without_labels_is_refused(work):
    """Labels that take ten days to mature leave the last week without any."""
    late = variant("slow_parcels", train_window=timedelta(weeks=5), label_delay=timedelta(days=10))
    slow = Workplace(work.root, late)
    for name in ("dataset", "features", "labels"):
        slow.run(name, slow.days("2024-01-01", 42))
    slow.run("training_set", [WEEK])
    stage = slow.stage("candidate", [WEEK])
    card = {"sha256": "", "training_set": training_set.load(stage, WEEK).hash}
    stage.artifacts.write_json(stage.path("candidate", WEEK, candidate.CARD), card)
    with pytest.raises(ValueError, match="no rows with a label in the 7 days before 2024-02-12"):
        slow.run("evaluation", [WEEK])


def test_the_report_stands_alone_and_the_metadata_is_for_dagster(work):
    promote(work, BEFORE, train(work, BEFORE, poor))
    train(work, WEEK, good)
    result, page = work.run("evaluation", [WEEK]), report_of(work)
    assert "The candidate may be promoted" in page
    for shown in ("Calibration", "ROC curve", "What the model relies on", "By depot", "Confusion"):
        assert shown in page
    assert len(page) < 500_000
    assert not re.findall(r'(?:src|href)="(?!#)', page.replace("xlink:href", "href"))
    for name in ("log_loss", "log_loss_champion", "roc_auc_dummy", "brier_gain_over_champion"):
        assert isinstance(result.metadata[name], float)
    pictures = [v["raw_value"] for k, v in result.metadata.items() if k.endswith("_plot")]
    assert len(pictures) == 3
    for picture in pictures:
        data = base64.b64decode(re.search(r"base64,(.*)\)", picture).group(1))
        assert data.startswith(b"\x89PNG")
        assert len(data) < 60_000
    assert "log_loss" in result.metadata["metrics"]["raw_value"]
    for path in result.outputs["files"]:
        assert work.stage("evaluation", [WEEK]).artifacts.exists(path)


def test_a_regression_is_judged_by_its_errors(work):
    heavy = variant_of_weight()
    regression = Workplace(work.root, heavy)
    for name in ("dataset", "features", "labels"):
        regression.run(name, regression.days("2024-01-01", 42))
    regression.run("training_set", [WEEK])
    train(regression, WEEK, lambda x, y: _regression().fit(x, y))
    result, page = regression.run("evaluation", [WEEK]), report_of(regression)
    assert result.outputs["passed"]
    assert result.metadata["rmse"] < result.metadata["rmse_dummy"]
    assert "Quantiles of the error" in page
    assert "Confusion" not in page


def variant_of_weight() -> UseCase:
    """How late, in minutes, instead of whether."""
    return variant(
        "parcel_minutes",
        kind="regression",
        train_window=timedelta(weeks=5),
        objective="rmse",
        metrics=("rmse", "mae", "r2"),
        gate=(Rule(metric="rmse", against="dummy"),),
        families=(ModelFamily("linear", lambda trial: {}, lambda params, seed: _regression()),),
        contract=tuple(
            replace(column, dtype="float", max=None) if column.name == "late" else column
            for column in TOY.contract
        ),
        fetch=lambda start, end: TOY.fetch(start, end).assign(
            late=lambda rows: rows["late"] * rows["distance"] / 2
        ),
    )


def _regression() -> Pipeline:
    pipeline = _build({"C": 1.0})
    assert isinstance(pipeline.steps[-1][1], LogisticRegression)
    return Pipeline([*pipeline.steps[:-1], ("model", LinearRegression())])
