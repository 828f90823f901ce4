from __future__ import annotations

import json
import os

import pytest


def test_help_teaches(empty_home):
    said = empty_home.command("--help").stdout
    for command in ("demo", "drill", "ui", "check", "replay", "rollback", "stop", "doctor"):
        assert command in said
        assert len(empty_home.command(command, "--help").stdout) > 200


def test_the_doctor_finds_what_is_needed(lived_home):
    done = lived_home.command("doctor")
    assert done.returncode == 0, done.stdout
    assert "Dagster instance" in done.stdout


@pytest.mark.skipif(os.geteuid() == 0 and not os.path.exists("/proc"), reason="needs /proc")
def test_the_doctor_names_a_home_that_cannot_be_written(empty_home):
    empty_home.path.parent.mkdir(exist_ok=True)
    empty_home.path.write_text("a file where a directory should be")
    done = empty_home.command("doctor")
    assert done.returncode == 1
    assert "MLOPS_HOME" in done.stdout


def test_an_unknown_environment_is_named(empty_home):
    empty_home.env  # noqa: B018
    done = empty_home.python(
        "import os; os.environ['MLOPS_ENV'] = 'moon'; import mlops_assets.definitions"
    )
    assert done.returncode != 0
    assert "moon" in done.stderr


@pytest.fixture(scope="module", params=["never", "scheduled", "drift"])
def replayed(request, tmp_path_factory):
    from mlops_assets_tests.operations.conftest import Home

    home = Home(tmp_path_factory.mktemp("replay"))
    target = home.path / "out" / "replay.json"
    done = home.command(
        "replay", "parcels", "--start", "2024-02-05", "--end", "2024-02-26",
        "--strategy", request.param, "--json", str(target),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return request.param, json.loads(target.read_text()), target


def test_a_replay_tells_each_week_and_each_decision(replayed):
    strategy, record, target = replayed
    assert record["use_case"] == "parcels"
    assert record["strategy"] == strategy
    assert [week["week"] for week in record["weeks"]] == ["2024-02-05", "2024-02-12", "2024-02-19"]
    for week in record["weeks"]:
        assert week["rows"] == 420
        assert {"log_loss", "roc_auc", "brier"} <= set(week["metrics"])
        assert 0 < week["metrics"]["log_loss"] < 0.7
        assert week["compute_seconds"] > 0
        assert {type(week[name]) for name in ("drift_failed", "performance_failed")} == {bool}
    assert target.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_strategies_retrain_as_they_say(replayed):
    strategy, record, _ = replayed
    retrained = [week["retrained"] for week in record["weeks"]]
    decided = [choice["week"] for choice in record["decisions"] if choice["decision"] == "retrain"]
    assert [week["week"] for week in record["weeks"] if week["retrained"]] == decided
    if strategy != "drift":
        assert retrained == ([False] * 3 if strategy == "never" else [False, True, True])
    assert all(choice["reason"] and choice["cause"] for choice in record["decisions"])
