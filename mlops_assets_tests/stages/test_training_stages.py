from __future__ import annotations

from datetime import timedelta

import pandas as pd
import pytest

from mlops_assets.ml import models
from mlops_assets.stages import candidate, training_set
from mlops_assets_tests.toy import fetch, variant
from resources.artifacts import TamperedError
from resources.delta import MissingDataError

WEEK = "2024-02-05"


@pytest.fixture
def trained(workplace):
    work = workplace()
    days = work.days("2024-01-01", 40)
    for name in ("dataset", "features", "labels"):
        work.run(name, days)
    work.run("training_set", [WEEK])
    return work


def test_a_training_set_knows_nothing_later_than_its_as_of_time(trained):
    stage = trained.stage("training_set", [WEEK])
    found = training_set.load(stage, WEEK)
    as_of = pd.Timestamp(stage.calendar.week(WEEK)[0])
    assert found.rows["promised_at"].max() < as_of
    assert found.rows["matured_at"].max() < as_of
    assert found.rows["handed_in_at"].min() >= as_of - pd.Timedelta(weeks=4)
    train, held_out = found.split(timedelta(weeks=1))
    assert (
        train["promised_at"].max() < as_of - pd.Timedelta(weeks=1) <= held_out["promised_at"].min()
    )
    assert len(train) + len(held_out) == len(found.rows)


def test_a_pinned_set_does_not_change_when_its_tables_do(trained):
    stage = trained.stage("training_set", [WEEK])
    before = training_set.load(stage, WEEK)
    changed = variant("parcels", fetch=lambda s, e: fetch(s, e).assign(weight=1.0))
    try:
        trained.run("dataset", ["2024-01-30"])
        trained.run("features", ["2024-01-30"])
        again = training_set.load(stage, WEEK)
    finally:
        variant("parcels", fetch=fetch)
    assert changed.name == "parcels"
    pd.testing.assert_frame_equal(again.rows, before.rows)


def test_too_few_rows_and_one_class_only_fail_their_checks(workplace):
    work = workplace(
        variant(
            "few_parcels", min_training_rows=5_000, fetch=lambda s, e: fetch(s, e).assign(late=0)
        )
    )
    days = work.days("2024-01-08", 28)
    for name in ("dataset", "features", "labels"):
        work.run(name, days if name == "dataset" else days[3:])
    work.run("training_set", [WEEK])
    found = work.check("training_set", [WEEK])
    assert not found["size"].passed
    assert not found["class_balance"].passed
    assert "5000 are needed" in found["size"].description


def test_no_data_at_all_is_said(workplace):
    with pytest.raises(MissingDataError, match="no features with labels from 2024-01-08"):
        workplace().run("training_set", [WEEK])


def test_training_is_reproducible_and_beats_the_dummy(trained):
    first, again = (trained.run("candidate", [WEEK]) for _ in range(2))
    assert first.data_version == again.data_version
    assert first.outputs == again.outputs
    assert {trial["family"] for trial in first.outputs["trials"]} == {"linear", "tree"}
    assert trained.check("candidate", [WEEK])["sanity"].passed


def test_a_model_that_learnt_noise_is_not_sane(workplace):
    def noise(start, end):
        frame = fetch(start, end)
        return frame.assign(late=(frame["parcel"].str[-1].astype(int) % 2))

    work = workplace(variant("noise_parcels", fetch=noise))
    days = work.days("2024-01-01", 35)
    for name in ("dataset", "features", "labels"):
        work.run(name, days)
    work.run("training_set", [WEEK])
    work.run("candidate", [WEEK])
    assert not work.check("candidate", [WEEK])["sanity"].passed


def test_a_changed_model_file_is_refused(trained):
    result = trained.run("candidate", [WEEK])
    stage = trained.stage("candidate", [WEEK])
    digest = result.outputs["card"]["sha256"]
    assert candidate.load_model(stage, WEEK, digest) is not None
    path = result.outputs["model_path"]
    stage.artifacts.write(path, stage.artifacts.read(path) + b" ")
    with pytest.raises(TamperedError, match="changed after it was written"):
        candidate.load_model(stage, WEEK, digest)


def test_predictions_need_a_champion(trained):
    with pytest.raises(MissingDataError, match="had no champion on 2024-02-05"):
        trained.run("predictions", [WEEK])


def test_types_outside_the_list_are_not_loaded():
    class Mine:
        pass

    import mlops_assets_tests.toy as module

    module.Mine = Mine
    Mine.__module__, Mine.__qualname__ = module.__name__, "Mine"
    with pytest.raises(models.UntrustedModelError, match=r"toy\.Mine"):
        models.load(models.dump(Mine()))
