"""Back to an earlier champion: one step or to a version, recorded, once, whatever kills it."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pandas as pd
import pytest
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from typer.testing import CliRunner

from mlops_assets import ledger
from mlops_assets.cli import app
from mlops_assets.ledger import Entry
from mlops_assets.lifecycle import deployment
from mlops_assets.lifecycle.assets import key
from mlops_assets.lifecycle.champion import PromotionRefusedError, point_alias, refuse_rolled_back
from mlops_assets.operations import rollback as operation
from mlops_assets.operations import runs
from mlops_assets.operations.rollback import RollbackError, roll_back
from mlops_assets.use_cases import UseCase
from mlops_assets_tests.toy import variant
from resources import bento, resources_for
from resources.artifacts import sha256
from resources.delta import PARTITION

FAKE_BENTOML = Path(__file__).parents[1] / "resources" / "fake_bentoml"
FIRST = datetime(2024, 2, 5, tzinfo=UTC)


class Killed(BaseException):
    """The process ends here: nothing handles this."""


@dataclass
class Past:
    """A use case whose champions were promoted, one a week."""

    root: Path
    use_case: UseCase
    dagster: dg.DagsterInstance
    resources: dict[str, Any]

    def promote(self, version: int) -> Entry:
        """As the assets leave it: gate, Bento, its record, registry, ledger and alias."""
        monday = FIRST + timedelta(weeks=version - 1)
        week, name = monday.strftime("%Y-%m-%d"), self.use_case.name
        files, model = self.resources["files"].store(), f"{name} {version}".encode()
        gate = {"passed": True, "rules": [], "champion": None}
        gate_sha256 = files.write_json(f"{name}/evaluation/{week}/gate.json", gate | {"week": week})
        self.resources["registry"].register(
            name, run_id="none", source="nowhere", sha256=sha256(model), as_of=week
        )
        self._pack(week, version, sha256(model))
        entry = Entry(
            action="promote",
            effective_at=monday,
            as_of=week,
            model_version=str(version),
            model_sha256=sha256(model),
            gate_sha256=gate_sha256,
            decided_at=monday,
            reason="better",
            by="Dagster run 1",
        )
        day = (monday + timedelta(days=6)).strftime("%Y-%m-%d")
        rows = pd.DataFrame({PARTITION: [day], "parcel": [""]})
        self.tables.overwrite(f"{self.use_case.name}/dataset", rows, [day])
        ledger.record(self.tables, self.use_case, entry)
        point_alias(self.use_case, self.resources["tables"], self.resources["registry"])
        return entry

    def _pack(self, week: str, version: int, model_sha256: str) -> None:
        path = self.root / "bentos" / self.use_case.name / str(version)
        golden = {"request": {"rows": [{}]}, "scores": [version / 7], "version": str(version)}
        (path / "src").mkdir(parents=True)
        (path / "src" / "golden.json").write_text(json.dumps(golden))
        digest = bento.digest(path)
        record = {"path": str(path), "digest": digest, "model_sha256": model_sha256}
        self.resources["files"].store().write_json(
            f"{self.use_case.name}/service/{week}/service.json",
            {"bento": record, "golden_scores": golden["scores"]},
        )
        self.dagster.report_runless_asset_event(
            dg.AssetMaterialization(
                key(self.use_case, "service"),
                partition=week,
                tags={DATA_VERSION_TAG: digest[:16]},
            )
        )

    @property
    def tables(self) -> Any:
        return self.resources["tables"].store()

    def deploy(self) -> None:
        champion = ledger.entries(self.tables, self.use_case)[-1]
        release = deployment.release(
            self.use_case, champion, self.resources["files"].store(), self.dagster
        )
        self.resources["deployments"].roll_out(self.use_case.name, release)

    def roll_back(self, to: str | None = None, reason: str = "it is worse") -> Entry:
        return roll_back(
            self.use_case, to, reason, by="kim", dagster=self.dagster, **self.resources
        )

    def in_charge(self) -> tuple[str, ...]:
        """The version in charge by each account, which must agree."""
        status = self.resources["deployments"].status(self.use_case.name)
        accounts = [
            ledger.entries(self.tables, self.use_case)[-1].model_version,
            self.resources["registry"].alias(self.use_case.name, "champion"),
        ]
        if status.live:
            answer = httpx.post(f"{status.url}/predict_batch", json={}, timeout=60)
            accounts += [status.live.model_version, answer.json()["model_version"]]
        return tuple(accounts)

    def rollbacks(self) -> list[str]:
        entries = ledger.entries(self.tables, self.use_case)
        return [entry.model_version for entry in entries if entry.action == "rollback"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Everything lies where it lies by default, under one MLOPS_HOME for all tests."""
    root = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLOPS_HOME", str(root))
        patch.setenv("DAGSTER_HOME", str(root / "dagster"))
        patch.setenv("PYTHONPATH", str(FAKE_BENTOML))
        yield root


@pytest.fixture
def past(home: Path, request: pytest.FixtureRequest) -> Iterator[Past]:
    """Three champions, the third of which is in charge."""
    name = "".join(c if c.isalnum() else "_" for c in request.node.name)
    resources: dict[str, Any] = dict(resources_for("local"))
    with runs.instance() as dagster:
        past = Past(home, variant(name), dagster, resources)
        for version in (1, 2, 3):
            past.promote(version)
        yield past
        resources["deployments"].stop(name)


def test_one_step_back_is_recorded_with_who_when_and_why(past: Past) -> None:
    before = datetime.now(UTC)
    entry = past.roll_back()
    assert (entry.action, entry.model_version, entry.as_of) == ("rollback", "2", "2024-02-12")
    assert (entry.by, entry.reason) == ("kim", "it is worse")
    assert before <= entry.decided_at <= datetime.now(UTC)
    assert past.in_charge() == ("2", "2")
    assert ledger.entries(past.tables, past.use_case)[-1] == entry


def test_each_further_reason_is_one_step_further_until_there_is_none(past: Past) -> None:
    assert past.roll_back(reason="a").model_version == "2"
    assert past.roll_back(reason="a").model_version == "2"
    assert past.roll_back(reason="b").model_version == "1"
    with pytest.raises(RollbackError, match="version 1 is the first"):
        past.roll_back(reason="c")
    assert past.rollbacks() == ["2", "1"]
    past.promote(4)
    assert past.roll_back(reason="d").model_version == "1"


def test_back_to_a_version_by_name(past: Past) -> None:
    assert past.roll_back(to="1").model_version == "1"
    assert past.roll_back(to="1", reason="again").reason == "it is worse"
    assert past.in_charge() == ("1", "1")
    assert past.rollbacks() == ["1"]
    with pytest.raises(RollbackError, match=r"version 9 was never in charge; there were 1, 2, 3"):
        past.roll_back(to="9")


def test_what_was_left_needs_a_new_evaluation_and_what_is_in_charge_does_not(past: Past) -> None:
    entry = past.roll_back()
    entries = ledger.entries(past.tables, past.use_case)
    third = next(e for e in entries if e.model_version == "3")
    with pytest.raises(PromotionRefusedError, match="rolled back after this evaluation"):
        refuse_rolled_back(entries, third.gate_sha256)
    refuse_rolled_back(entries, entry.gate_sha256)
    refuse_rolled_back(entries, "the gate of next week")


def test_the_next_promotion_of_a_past_that_is_operated_again_takes_charge(past: Past) -> None:
    """Rolled back today, although the data ended long ago and weeks go on to be replayed."""
    past.roll_back()
    past.promote(4)
    assert past.in_charge() == ("4", "4")


@pytest.mark.faults
@pytest.mark.parametrize("victim", ["record", "point_alias", "roll_out"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_step_and_run_again_all_accounts_agree(
    past: Past, monkeypatch: pytest.MonkeyPatch, victim: str, when: str
) -> None:
    past.deploy()
    deployments = type(past.resources["deployments"])
    owner = {"record": ledger, "point_alias": operation, "roll_out": deployments}[victim]
    whole = getattr(owner, victim)

    def dies(*args: Any, **kwargs: Any) -> None:
        if when == "after":
            whole(*args, **kwargs)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(owner, victim, dies)
        with pytest.raises(Killed):
            past.roll_back()
    past.roll_back()
    assert past.in_charge() == ("2",) * 4
    assert past.rollbacks() == ["2"]


def test_what_cannot_be_deployed_is_not_rolled_back_to(past: Past) -> None:
    past.deploy()
    second = past.root / "bentos" / past.use_case.name / "2" / "src" / "golden.json"
    second.write_text(second.read_text() + " ")
    with pytest.raises(deployment.DeploymentRefusedError, match="is not what was built"):
        past.roll_back()
    assert past.in_charge() == ("3",) * 4
    assert past.rollbacks() == []


def test_the_command(past: Past) -> None:
    name = past.use_case.name
    done = CliRunner().invoke(app, ["rollback", name, "--reason", "late flights"])
    assert done.exit_code == 0, done.output
    assert past.in_charge() == ("2", "2")
    last = ledger.entries(past.tables, past.use_case)[-1]
    assert (last.by, last.reason) == (getpass.getuser(), "late flights")
    done = CliRunner().invoke(app, ["rollback", name, "--to", "7", "--reason", "late flights"])
    assert done.exit_code == 1
    assert CliRunner().invoke(app, ["rollback", "nowhere", "--reason", "x"]).exit_code == 1
    assert CliRunner().invoke(app, ["rollback", name]).exit_code == 2


def test_a_service_is_stopped_by_a_command(past: Past) -> None:
    past.deploy()
    done = CliRunner().invoke(app, ["stop", past.use_case.name])
    assert done.exit_code == 0, done.output
    status = past.resources["deployments"].status(past.use_case.name)
    assert (status.live, status.ready) == (None, False)
    assert past.in_charge() == ("3", "3")
