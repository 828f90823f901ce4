"""The drill passes where all goes as it should, and fails where it does not."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest
from typer.testing import CliRunner

from mlops_assets import cli
from mlops_assets.operations import drill
from mlops_assets.operations.drill import simulated
from mlops_assets.operations.drill.operator import Claim, OverdueError
from mlops_assets.operations.drill.simulated import World

GOOD = Claim("the champion stays", "it stays", agrees=True)
BAD = Claim("the gate blocks it", "it was promoted", agrees=False)


def refuses_nothing(operator):
    yield GOOD
    yield BAD


def never_ends(operator):
    yield GOOD
    raise OverdueError("not in 300 s: the retraining has ended")


def goes_well(operator):
    yield GOOD


@pytest.fixture
def play(monkeypatch, capsys):
    """The drill of scenarios that need no world: exit code, and what it said."""

    def play(*scenarios):
        monkeypatch.setattr(drill, "_world", lambda: nullcontext(None))
        monkeypatch.setattr(drill, "SCENARIOS", tuple(one.__name__ for one in scenarios))
        by_name = {one.__name__: SimpleNamespace(TITLE=one.__name__, play=one) for one in scenarios}
        monkeypatch.setattr(drill, "_scenario", by_name.__getitem__)
        result = CliRunner().invoke(cli.app, ["drill"])
        return result.exit_code, capsys.readouterr().out + result.output

    return play


def test_all_as_it_should_be(play):
    code, said = play(goes_well, goes_well)
    assert code == 0
    assert "2 of 2 went as they should" in said


@pytest.mark.parametrize(
    ("scenario", "did"), [(refuses_nothing, "it was promoted"), (never_ends, "not in 300 s")]
)
def test_an_expectation_that_is_not_met_fails_the_drill_to_its_end(play, scenario, did):
    code, said = play(scenario, goes_well)
    assert code == 1
    assert did in said
    assert "2 of 3 went as they should" in said


def test_an_unknown_scenario_is_named(empty_home):
    done = empty_home.command("drill", "earthquake")
    assert done.returncode == 2
    assert "earthquake" in done.stderr


def test_every_scenario_can_be_played():
    for name in drill.SCENARIOS:
        scenario = drill._scenario(name)
        assert scenario.TITLE
        assert callable(scenario.play)


def test_the_simulated_source_goes_wrong_as_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    start, days = datetime(2024, 2, 5, tzinfo=UTC), [f"2024-02-0{n}" for n in range(5, 10)]
    usual = simulated.fetch(start, start + timedelta(days=5))
    World(
        shifts=(days[1],), lost_column_on=days[2], mislabelled=(days[3], days[4]),
        truth_held_from=days[4],
    ).write()  # fmt: skip
    told = simulated.fetch(start, start + timedelta(days=5))
    first, shifted, lost, mislabelled, held = (
        told["ordered_at"].dt.strftime("%Y-%m-%d") == day for day in days
    )
    pd.testing.assert_frame_equal(told[first], usual[first])
    assert (told["basket"] - usual["basket"])[shifted].round().eq(100).all()
    assert told["distance"][lost].isna().all()
    assert (told["reported_at"] > simulated.NOW).equals(held)
    World(shifts=(days[1],)).write()
    right = simulated.fetch(start, start + timedelta(days=5))["returned"]
    assert (told["returned"] != right).sum() == (told["returned"] != right)[mislabelled].sum() == 60
    assert "distance" in simulated.fetch(start + timedelta(days=2), start + timedelta(days=3))
    World(lost_column_on=days[2]).write()
    assert "distance" not in simulated.fetch(start + timedelta(days=2), start + timedelta(days=3))


@pytest.mark.daemon
def test_one_scenario_against_the_real_assets_leaves_nothing_running(empty_home):
    done = empty_home.command("drill", "poisoned_model")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "it is refused to be promoted" in done.stdout
    left = [one for one in psutil.process_iter(["cmdline"]) if _of(one, str(empty_home.path))]
    assert left == []


def _of(process: psutil.Process, home: str) -> bool:
    return any(home in argument for argument in process.info["cmdline"] or [])
