"""The drill: what goes wrong in a year, played in minutes against the real assets and processes.

Each scenario says what should happen and looks at what did. They share one simulated world under
`$MLOPS_HOME/drill`, the real dagster-daemon and the real service, and follow one another in time.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

from rich.table import Table

from mlops_assets.operations import runs
from mlops_assets.operations.runs import console
from resources.home import home

if TYPE_CHECKING:
    from mlops_assets.operations.drill.operator import Claim, Operator

SCENARIOS = (
    "bad_challenger",
    "drifted_week",
    "service_killed",
    "poisoned_model",
    "lost_column",
    "daemon_killed",
    "late_labels",
)
"""In the order in which they are played: a challenger is bad beside a champion that is good, and
the truth that is late in the last one stays away."""


def drill(names: Sequence[str] = ()) -> int:
    """Play the scenarios of these names, or all; return the exit code: 0 if all went well."""
    started = time.monotonic()
    with _world() as operator:
        played = [_play(one, operator) for one in SCENARIOS if one in names or not names]
    console.print(_table(played))
    claims = [claim for _, found in played for claim in found]
    wrong = sum(not claim.agrees for claim in claims)
    console.print(
        f"{len(claims) - wrong} of {len(claims)} went as they should,"
        f" in {time.monotonic() - started:.0f} s; what was left lies in {home('drill')}",
        highlight=False,
    )
    return 1 if wrong else 0


@contextmanager
def _world() -> Iterator[Operator]:
    """A world of its own with a live model and a running daemon, of which nothing stays running."""
    folder = home("drill")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the blocks below end
    with ExitStack() as stack:
        from mlops_assets.operations.drill.simulated import NOW, USE_CASE

        ours = {
            "MLOPS_HOME": str(folder),
            "DAGSTER_HOME": str(folder / "dagster"),
            "MLOPS_NOW": NOW.isoformat(),
        }
        stack.enter_context(_environment(ours))
        from mlops_assets.operations.drill.daemon import Daemon
        from mlops_assets.operations.drill.operator import Operator
        from resources.deployments.local import LocalDeployments

        deployments = LocalDeployments()
        if deployments.status(USE_CASE.name).live is not None:  # a drill was killed
            deployments.stop(USE_CASE.name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        stack.callback(deployments.stop, USE_CASE.name)
        daemon = Daemon(folder / "daemon.log")
        stack.callback(daemon.stop)
        operator = Operator(stack.enter_context(runs.instance()), daemon)
        console.rule("A first model goes live")
        operator.begin()
        yield operator


@contextmanager
def _environment(ours: Mapping[str, str]) -> Iterator[None]:
    """Let this process, and all it starts, find these settings and no token for the service."""
    before = dict(os.environ)
    os.environ.pop("MLOPS_SERVICE_TOKEN", None)
    os.environ.update(ours)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _play(name: str, operator: Operator) -> tuple[str, list[Claim]]:
    """A scenario's title, and what it claims up to the end or to what never came."""
    from mlops_assets.operations.drill.operator import Claim, OverdueError

    scenario = _scenario(name)
    console.rule(scenario.TITLE)
    claims: list[Claim] = []
    try:
        for claim in scenario.play(operator):
            claims.append(claim)
            _say(claim)
    except OverdueError as error:
        claims.append(Claim("it comes to its end", str(error), agrees=False))
        _say(claims[-1])
    return scenario.TITLE, claims


def _scenario(name: str) -> ModuleType:
    from importlib import import_module

    return import_module(f"{__name__}.scenarios.{name}")


def _say(claim: Claim) -> None:
    console.print(_mark(claim), end=" ")
    console.print(f"{claim.should}: {claim.did}", highlight=False, markup=False)


def _mark(claim: Claim) -> str:
    return "[green]✓[/green]" if claim.agrees else "[red]✗[/red]"


def _table(played: Sequence[tuple[str, Sequence[Claim]]]) -> Table:
    table = Table("", "should happen", "did happen", title="The drill", show_lines=False)
    for title, claims in played:
        table.add_section()
        table.add_row("", f"[bold]{title}[/bold]", "")
        for claim in claims:
            table.add_row(_mark(claim), claim.should, _short(claim.did))
    return table


def _short(text: str) -> str:
    from textwrap import shorten

    from rich.markup import escape

    return escape(shorten(text, 160, placeholder=" …"))
