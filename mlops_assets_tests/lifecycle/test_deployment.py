"""A model goes live, is changed under load, answers as it does in batch, and is taken back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pandas as pd
import pytest

from mlops_assets import ledger
from mlops_assets.lifecycle import lifecycle
from mlops_assets.operations.rollback import roll_back
from mlops_assets.service import bundle
from mlops_assets_tests.toy import Rule, variant
from resources.deployments.base import Deployments

from .conftest import WEEK, Operator, failed_checks, materialized, resources, why

NEXT_WEEK = "2024-02-12"
DAY = "2024-02-06"
TRAIN = ["training_set", "candidate", "evaluation", "champion", "service"]
# Whether the second model is better than the first is not what is tested here.
LIVE = variant("live_parcels", gate=(Rule(metric="log_loss", against="dummy"),))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """Two promoted versions of one model, the first of which is live."""
    root = tmp_path_factory.mktemp("live")
    with dg.DagsterInstance.ephemeral() as instance:
        operator = Operator(root, instance, LIVE)
        assert operator.ingest().success
        trained = operator.materialize(TRAIN, WEEK)
        assert trained.success, why(trained)
        try:
            first = operator.materialize(["deployment"])
            assert first.success, why(first)
            assert failed_checks(first) == set()
            yield operator
        finally:
            deployments(operator).stop(LIVE.name)


def deployments(operator: Operator) -> Deployments:
    found: Deployments = resources(operator.root)["deployments"]
    return found


def url(operator: Operator) -> str:
    found = deployments(operator).status(LIVE.name).url
    assert found
    return found


def today() -> str:
    return LIVE.calendar.key(datetime.now(UTC))


def features(operator: Operator) -> pd.DataFrame:
    tables = resources(operator.root)["tables"].store()
    return tables.read(f"{LIVE.name}/features", [DAY]).sort_values("parcel", ignore_index=True)


def logged(operator: Operator) -> pd.DataFrame:
    tables = resources(operator.root)["tables"].store()
    return tables.read(f"{LIVE.name}/prediction_log").sort_values("parcel", ignore_index=True)


def test_online_and_batch_agree_value_by_value(live: Operator) -> None:
    assert live.materialize(["predictions"], DAY).success
    tables = resources(live.root)["tables"].store()
    batch = tables.read(f"{LIVE.name}/predictions", [DAY]).sort_values("parcel", ignore_index=True)
    asked = features(live)
    rows = bundle.records(asked[["parcel", *LIVE.feature_names]])
    with httpx.Client(base_url=url(live), timeout=60) as client:
        for row in rows[:20]:
            assert client.post("/predict", json=row).status_code == 200
        assert client.post("/predict_batch", json={"rows": rows[20:]}).status_code == 200
    until_written(live, len(rows))
    result = live.materialize(["prediction_log"], today())
    assert failed_checks(result) == set()
    online = logged(live)
    online = online[~online["is_golden"]].reset_index(drop=True)
    same = ["parcel", "score", "model_version"]
    pd.testing.assert_frame_equal(online[same], batch[same])
    pd.testing.assert_frame_equal(online[LIVE.feature_names], asked[LIVE.feature_names])
    labels = tables.read(f"{LIVE.name}/labels", [DAY]).sort_values("parcel", ignore_index=True)
    pd.testing.assert_frame_equal(online[["parcel", "late"]], labels[["parcel", "late"]])


def until_written(operator: Operator, answers: int) -> None:
    """Wait until the service has written down that many answers to clients."""
    segments = Path(deployments(operator).prediction_log(LIVE.name))
    while sum(path.read_text().count('"parcel"') for path in segments.iterdir()) < answers:
        time.sleep(0.1)


@contextmanager
def load(operator: Operator) -> Iterator[list[int | str]]:
    """Two clients that ask without a pause; what they got: versions, or statuses of failures."""
    row = bundle.records(features(operator)[LIVE.feature_names])[0]
    got: list[int | str] = []
    ended = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=url(operator), timeout=60) as client:
            while not ended.is_set():
                answer = client.post("/predict", json=row)
                ok = answer.status_code == 200
                got.append(answer.json()["model_version"] if ok else answer.status_code)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield got
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_it_changes_under_load_and_is_taken_back_for_good(live: Operator) -> None:
    assert live.materialize(TRAIN, NEXT_WEEK).success
    assert failed_checks(live.check("deployment")) == {"smoke", "live_digest_matches_ledger"}
    with load(live) as got:
        changed = live.materialize(["deployment"])
        assert failed_checks(changed) == set()
        found = resources(live.root)
        back = roll_back(LIVE, None, "late parcels", by="kim", dagster=live.instance, **found)
    assert set(got) == {"1", "2"}
    assert (back.action, back.model_version, back.by) == ("rollback", "1", "kim")
    assert failed_checks(live.check("deployment")) == set()
    assert found["registry"].alias(LIVE.name, "champion") == "1"
    again = live.materialize(["champion"], NEXT_WEEK)
    assert not again.success
    assert found["registry"].alias(LIVE.name, "champion") == "1"
    assert ledger.entries(found["tables"].store(), LIVE)[-1] == back


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("evaluation/{week}/gate.json", "the gate result of"),
        ("service/{week}/service.json", "the record of the service of"),
        ("bento", "is not what was built"),
    ],
)
def test_what_was_tampered_with_is_not_deployed(live: Operator, file: str, message: str) -> None:
    found = resources(live.root)
    week = ledger.entries(found["tables"].store(), LIVE)[-1].as_of
    files = Path(found["files"].uri) / LIVE.name
    record = json.loads((files / "service" / week / "service.json").read_text())
    path = files / file.format(week=week)
    if file == "bento":
        path = Path(record["bento"]["path"]) / "src" / "model.skops"
    before = path.read_bytes()
    changed = before + b" "
    if file.startswith("service"):
        changed = json.dumps(record | {"bento": record["bento"] | {"digest": "0" * 64}}).encode()
    path.write_bytes(changed)
    try:
        result = live.materialize(["deployment"])
    finally:
        path.write_bytes(before)
    assert not result.success
    assert materialized(result) == set()
    assert message in why(result)
    assert deployments(live).status(LIVE.name).ready


def test_it_follows_a_training_by_itself_and_its_log_is_taken_in_every_hour() -> None:
    noon = datetime(2024, 3, 5, 12, tzinfo=UTC)
    defs = dg.Definitions.merge(lifecycle(LIVE), dg.Definitions(resources=resources(Path())))
    assets = {name: dg.AssetKey([LIVE.name, name]) for name in ("deployment", "prediction_log")}
    done = [
        dg.AssetMaterialization(dg.AssetKey([LIVE.name, "service"]), partition=WEEK),
        dg.AssetMaterialization(assets["deployment"]),
    ]
    with dg.DagsterInstance.ephemeral() as instance:

        def requested(minute: int, cursor: Any = None) -> tuple[set[str], Any]:
            found = dg.evaluate_automation_conditions(
                defs=defs,
                instance=instance,
                asset_selection=dg.AssetSelection.assets(*assets.values()),
                cursor=cursor,
                evaluation_time=noon + timedelta(minutes=minute),
            )
            return {r.key.path[-1] for r in found.results if not r.true_subset.is_empty}, found

        nothing, found = requested(0)
        instance.report_runless_asset_event(done[0])
        trained, found = requested(1, found.cursor)
        instance.report_runless_asset_event(done[1])
        quiet, found = requested(2, found.cursor)
        hour, found = requested(6, found.cursor)
        logs = found.get_requested_partitions(assets["prediction_log"])
        after, found = requested(7, found.cursor)
    assert (nothing, trained, quiet, hour, after) == (
        set(), {"deployment"}, set(), {"prediction_log"}, set(),
    )  # fmt: skip
    assert logs == {"2024-03-04", "2024-03-05"}
