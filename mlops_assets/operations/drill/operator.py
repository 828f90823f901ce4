"""What the drill does to the world and the life cycle in it, and what it sees of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TypeVar

import dagster as dg

from mlops_assets import decisions, ledger
from mlops_assets.decisions import Record
from mlops_assets.definitions import definitions
from mlops_assets.lifecycle.controller import DECISION_TAG
from mlops_assets.ml.calendar import WEEK
from mlops_assets.operations import runs
from mlops_assets.operations.drill.daemon import Daemon
from mlops_assets.operations.drill.simulated import USE_CASE, World
from mlops_assets.operations.runs import Outcome, console
from resources.artifacts import Artifacts
from resources.delta import DeltaStore
from resources.deployments.local import LocalDeployments
from resources.deployments.release import Status
from resources.home import home
from resources.registry import Registry

START = date(2024, 2, 5)
"""The Monday as of which the first model is trained."""
PATIENCE = 300.0
ALONE = ("champion", "predictions", "service", "training_set")
"""Assets that the drill materialises one at a time, besides the jobs of the life cycle."""

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Claim:
    """What should happen, and what did."""

    should: str
    did: str
    agrees: bool


class OverdueError(RuntimeError):
    """What should have happened by itself did not within the drill's patience."""


@dataclass
class Operator:
    """Lives through weeks of the simulated world, one after the other."""

    instance: dg.DagsterInstance
    daemon: Daemon
    today: date = START
    """What has not come yet begins here."""
    world: World = field(default_factory=World)
    deployments: LocalDeployments = field(default_factory=LocalDeployments)
    registry: Registry = field(default_factory=Registry)

    def __post_init__(self) -> None:
        jobs = [dg.define_asset_job(f"drill_only_{name}", [f"drill/{name}"]) for name in ALONE]
        self._defs = dg.Definitions.merge(definitions([USE_CASE]), dg.Definitions(jobs=jobs))

    # What is done

    def begin(self) -> None:
        """A first model is live, and the daemon runs."""
        self.ingest(USE_CASE.start, self.today)
        for outcome in (self.run("train", [str(self.today)]), self.run("deploy")):
            if not outcome.success:
                raise RuntimeError("; ".join(outcome.failures))
        self.daemon.start()

    def change(self, **wrong: object) -> None:
        """Let something be wrong with the world."""
        self.world = replace(self.world, **wrong)  # type: ignore[arg-type]
        self.world.write()

    def shift(self) -> str:
        """Two weeks in which the world is another; returns the second one, which is watched.

        A model trained after both has learnt from the first, and is judged by the second.
        """
        self.change(shifts=(*self.world.shifts, str(self.today)))
        return self.live(weeks=2)

    def live(self, weeks: int = 1) -> str:
        """Weeks pass, of which the last is watched; returns its Monday."""
        since, self.today = self.today, self.today + weeks * WEEK
        week = self.today - WEEK
        self.ingest(since, self.today)
        self.run("predict", keys(week, self.today))
        self.run("monitor", [str(week)])
        return str(week)

    def ingest(self, start: date, end: date) -> Outcome:
        return self.run("ingest", keys(start, end))

    def run(self, job: str, partitions: Sequence[str] = ()) -> Outcome:
        """A job of the life cycle, or `only_<asset>`, in this process."""
        span = " to ".join(dict.fromkeys((*partitions[:1], *partitions[-1:])))
        title = " ".join(filter(None, (job.replace("_", " "), span)))
        outcome = runs.run(
            self._defs,
            f"{USE_CASE.name}_{job}",
            partitions,
            instance=self.instance,
            title=title,
            quiet=True,
        )
        ended = "done" if outcome.success else "stopped"
        console.print(f"  [dim]{title}: {ended} ({outcome.seconds:.0f} s)[/dim]", highlight=False)
        return outcome

    def until(self, what: str, look: Callable[[], Seen | None], patience: float = PATIENCE) -> Seen:
        """What `look` sees once it sees something. Raises OverdueError."""
        started = time.monotonic()
        with console.status(f"waiting until {what}"):
            while not (seen := look()):
                if time.monotonic() - started > patience:
                    raise OverdueError(f"not in {patience:.0f} s: {what}")
                time.sleep(0.5)
        seconds = time.monotonic() - started
        console.print(f"  [dim]waited {seconds:.0f} s until {what}[/dim]", highlight=False)
        return seen

    # What is seen

    @property
    def tables(self) -> DeltaStore:
        return DeltaStore(str(home("tables")))

    @property
    def files(self) -> Artifacts:
        return Artifacts(str(home("artifacts")))

    @property
    def status(self) -> Status:
        return self.deployments.status(USE_CASE.name)

    @property
    def live_version(self) -> str:
        """Of the model that answers."""
        live = self.status.live
        return live.model_version if live else "none"

    @property
    def in_charge(self) -> tuple[str, str | None, str]:
        """The champion by the ledger, by the registry's alias and by what is live."""
        entries = ledger.entries(self.tables, USE_CASE)
        alias = self.registry.alias(USE_CASE.name, "champion")
        return entries[-1].model_version, alias, self.live_version

    def about(self, week: str) -> list[Record]:
        """Those about a week."""
        return [found for found in decisions.recent(self.tables, USE_CASE) if found.week == week]

    def decided(self, week: str) -> list[Record]:
        """The decisions about all failed checks of a week, once carried out; empty before."""
        found = self.about(week)
        failed = self.failed_checks(week)
        complete = len(found) >= len(failed) and not any(one.in_flight for one in found)
        return found if complete else []

    def failed_checks(self, week: str) -> list[str]:
        """Which of the week's checks failed."""
        results = {kind: f"drill/{kind}/{week}/result.json" for kind in ("drift", "performance")}
        return [
            kind
            for kind, path in results.items()
            if self.files.exists(path) and self.files.read_json(path)["failed"]
        ]

    def trainings(self, records: Sequence[Record]) -> list[dg.DagsterRun]:
        """The runs that decisions have led to."""
        return [
            run
            for record in records
            for run in self.instance.get_runs(dg.RunsFilter(tags={DECISION_TAG: record.id}))
        ]


def keys(start: date, end: date) -> list[str]:
    """The days from `start` to `end`, that one excluded."""
    calendar = USE_CASE.calendar
    return calendar.keys(calendar.midnight(start), calendar.midnight(end))


def told(records: Sequence[Record]) -> str:
    """Decisions as people read them."""
    return "; ".join(
        f"{one.cause}: {one.decision}{f' ({one.progress})' if one.decision == 'retrain' else ''}"
        for one in records
    )


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
