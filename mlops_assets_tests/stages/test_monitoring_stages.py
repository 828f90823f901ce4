from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from mlops_assets import ledger
from mlops_assets.stages import candidate
from mlops_assets_tests.stages.conftest import Workplace
from mlops_assets_tests.toy import TOY
from resources.delta import MissingDataError

AS_OF, WEEK = "2024-02-05", "2024-02-12"
UTC = ZoneInfo("UTC")
Change = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.fixture(scope="module")
def operated(tmp_path_factory):
    """Seven weeks of parcels, a champion since the sixth, its predictions of the last two."""
    work = Workplace(tmp_path_factory.mktemp("operated"))
    days = work.days("2024-01-01", 49)
    for name in ("dataset", "features", "labels"):
        work.run(name, days)
    for name in ("training_set", "candidate"):
        work.run(name, [AS_OF])
    stage = work.stage("champion", [AS_OF])
    start = datetime(2024, 2, 5, tzinfo=UTC)
    entry = ledger.Entry(
        action="promote",
        effective_at=start,
        as_of=AS_OF,
        model_version="1",
        model_sha256=candidate.card(stage, AS_OF)["sha256"],
        gate_sha256="",
        decided_at=start,
        reason="the first",
        by="a test",
    )
    ledger.record(stage.tables, TOY, entry)
    work.run("predictions", days[35:])
    return work


@pytest.fixture
def work(operated, tmp_path):
    """A copy to change."""
    shutil.copytree(operated.root, tmp_path / "copy")
    return Workplace(tmp_path / "copy", operated.use_case, operated.now)


def alter(work: Workplace, asset: str, change: Change) -> None:
    """Change what is stored of an asset's days of the week."""
    stage = work.stage(asset, work.days(WEEK, 7))
    stage.write(asset, change(stage.read(asset, stage.partitions)), stage.partitions)


def stored(work: Workplace, path: str) -> bytes:
    return work.stage("drift", [WEEK]).artifacts.read(f"parcels/{path}")


def test_a_usual_week_passes_with_reports(work):
    result = work.run("drift", [WEEK], evidently=False)
    assert not result.outputs["failed"]
    verdict = work.check("drift", [WEEK])["drift"]
    assert verdict.passed
    assert "no alarming drift" in verdict.description
    page = stored(work, f"drift/{WEEK}/report.html").decode()
    assert "No alarming drift" in page
    assert page.count("<svg") > 1
    assert len(page) < 500_000
    assert result.outputs["files"] == [
        f"parcels/drift/{WEEK}/report.html",
        f"parcels/drift/{WEEK}/result.json",
    ]
    json.dumps(dict(result.metadata))


def test_the_same_week_gives_the_same_result(work):
    first, again = (work.run("drift", [WEEK], evidently=False) for _ in range(2))
    assert first == again


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.assign(weight=3.0), "weight: is constant (3.0)"),
        (lambda rows: rows.assign(weight=np.nan), "weight: the column is empty"),
        (lambda rows: rows.assign(distance=rows["distance"] * 1.8 + 32), "distance: "),
        (lambda rows: rows.assign(depot="east"), "depot: is constant (east)"),
    ],
)
def test_a_changed_week_fails_and_says_what_changed(work, change, message):
    alter(work, "features", change)
    assert work.run("drift", [WEEK], evidently=False).outputs["failed"]
    verdict = work.check("drift", [WEEK])["drift"]
    assert not verdict.passed
    assert message in verdict.description
    page = stored(work, f"drift/{WEEK}/report.html").decode()
    assert message in page
    assert "The world has changed" in page


def test_other_scores_of_the_same_rows_fail(work):
    alter(work, "predictions", lambda rows: rows.assign(score=rows["score"] ** 4))
    work.run("drift", [WEEK], evidently=False)
    assert "score: " in work.check("drift", [WEEK])["drift"].description


def test_evidently_draws_its_page_for_reading(work):
    alter(work, "features", lambda rows: rows.assign(weight=np.nan))
    files = work.run("drift", [WEEK]).outputs["files"]
    assert f"parcels/drift/{WEEK}/evidently.html" in files
    assert b"distance" in stored(work, f"drift/{WEEK}/evidently.html")


def test_a_lost_day_does_not_hide_the_others(work):
    lost = work.days(WEEK, 1)
    stage = work.stage("features", lost)
    stage.tables.overwrite(stage.table("features"), stage.read("features", lost).iloc[:0], lost)
    result = work.run("drift", [WEEK], evidently=False)
    assert result.metadata["days"] == 6
    assert not result.outputs["failed"]


def test_a_profile_that_was_tampered_with_is_refused(work):
    stage = work.stage("drift", [WEEK])
    model = candidate.card(stage, AS_OF)["sha256"]
    stage.artifacts.write(candidate.path_of(stage, AS_OF, model, candidate.PROFILE), b"{}")
    with pytest.raises(RuntimeError, match="changed after it was written"):
        work.run("drift", [WEEK], evidently=False)


@pytest.mark.parametrize("asset", ["drift", "performance"])
def test_what_is_missing_is_named(work, asset):
    with pytest.raises(MissingDataError, match="had no champion when week 2024-01-29 began"):
        work.run(asset, ["2024-01-29"])
    with pytest.raises(MissingDataError, match=r"predictions.*nothing from 2024-02-19"):
        work.run(asset, ["2024-02-19"])
    with pytest.raises(MissingDataError, match=f"{asset} has no week {WEEK}; materialise it"):
        work.check(asset, [WEEK])


@pytest.mark.parametrize("asset", ["drift", "performance"])
def test_predictions_of_another_model_are_not_judged(work, asset):
    alter(work, "predictions", lambda rows: rows.assign(model_sha256="another"))
    with pytest.raises(MissingDataError, match="was made by version 1"):
        work.run(asset, [WEEK])


def test_a_model_that_keeps_its_promise_passes(work):
    result = work.run("performance", [WEEK])
    assert not result.outputs["failed"]
    assert 0.5 < result.metadata["roc_auc"] < 1
    verdict = work.check("performance", [WEEK])["performance"]
    assert verdict.passed
    assert "no metric is worse" in verdict.description
    assert "As good as promised" in stored(work, f"performance/{WEEK}/report.html").decode()
    json.dumps(dict(result.metadata))


def test_a_model_whose_world_turned_around_fails(work):
    alter(work, "labels", lambda rows: rows.assign(late=1 - rows["late"]))
    work.run("performance", [WEEK])
    verdict = work.check("performance", [WEEK])["performance"]
    assert not verdict.passed
    assert "worse than promised" in verdict.description
    assert "Worse than promised" in stored(work, f"performance/{WEEK}/report.html").decode()


def test_scores_that_are_mere_noise_fail(work):
    noise = np.random.default_rng(0).permutation
    alter(work, "predictions", lambda rows: rows.assign(score=noise(rows["score"])))
    assert work.run("performance", [WEEK]).outputs["failed"]


def test_late_labels_fail_the_check_and_nothing_is_judged(work):
    alter(work, "labels", lambda rows: rows[rows.index % 2 == 0])
    result = work.run("performance", [WEEK])
    assert result.outputs["labels_late"]
    verdict = work.check("performance", [WEEK])["performance"]
    assert not verdict.passed
    assert "labels are late: 210 of 420 predictions have a matured label" in verdict.description
    assert "roc_auc" not in result.metadata


def test_no_labels_at_all_are_late_labels(work):
    alter(work, "labels", lambda rows: rows.iloc[:0])
    assert work.run("performance", [WEEK]).outputs["labels_late"]


def test_labels_that_mature_later_than_now_do_not_count(work):
    later = pd.Timedelta(days=365).as_unit("us")
    alter(work, "labels", lambda rows: rows.assign(matured_at=rows["matured_at"] + later))
    assert work.run("performance", [WEEK]).outputs["labels_late"]


def test_rows_that_never_get_a_label_count_in_no_metric(work):
    alter(work, "labels", lambda rows: rows.assign(late=rows["late"].where(rows.index % 10 > 0)))
    result = work.run("performance", [WEEK])
    assert result.metadata["matured"] == 1
    assert result.metadata["rows"] == 378
    assert not result.outputs["failed"]


def test_a_week_whose_labels_are_not_due_is_not_judged(work):
    early = Workplace(work.root, work.use_case, datetime(2024, 2, 19, tzinfo=UTC))
    with pytest.raises(MissingDataError, match="not due before 2024-02-20"):
        early.run("performance", [WEEK])
    due = Workplace(work.root, work.use_case, early.now + timedelta(days=1))
    assert not due.run("performance", [WEEK]).outputs["failed"]
