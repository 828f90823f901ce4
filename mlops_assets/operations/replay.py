"""A year of operation in minutes: the real assets, week by week, by a clock that is set."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal

import dagster as dg

from mlops_assets import decisions, ledger, use_cases
from mlops_assets.definitions import definitions
from mlops_assets.ml.policy import Cause, CauseKind
from mlops_assets.operations.runs import Outcome, console, run
from mlops_assets.stages import Stage
from mlops_assets.use_cases import UseCase
from resources.compute.task import Task
from resources.home import home

Strategy = Literal["drift", "scheduled", "never"]
DAY = timedelta(days=1)
JOBS = {
    "fetch": ("dataset",),
    "ingest": ("dataset", "features", "labels"),
    "train": ("training_set", "candidate", "evaluation", "champion"),
    "mature": ("labels",),
    "predict": ("predictions",),
    "drift": ("drift",),
    "performance": ("performance",),
}


@dataclass
class Week:
    """What happened in one week of the replay."""

    week: str
    rows: int
    model_version: str
    retrained: bool
    """Whether a model trained as of this week's Monday took over."""
    metrics: dict[str, float] = field(default_factory=dict)
    drift_failed: bool = False
    performance_failed: bool = False
    compute_seconds: float = 0.0


@dataclass(frozen=True)
class Choice:
    """What was decided as of a Monday, and why."""

    week: str
    decision: Literal["retrain", "skip"]
    reason: str
    cause: str


@dataclass
class Replay:
    """The record of a replay."""

    use_case: str
    strategy: Strategy
    weeks: list[Week] = field(default_factory=list)
    decisions: list[Choice] = field(default_factory=list)


def replay(
    use_case: str, start: date, end: date, strategy: Strategy, json_path: Path | None = None
) -> Replay:
    """Operate a use case from `start` to `end` in a home of its own; write JSON and plot.

    The first model is trained as of the first Monday; the data before it are ingested for that.
    """
    case = use_cases.get(use_case)
    siblings = home("replays", f"{use_case}-{start}-{end}")
    folder = siblings / strategy
    shutil.rmtree(folder, ignore_errors=True)
    with _home_at(folder), dg.DagsterInstance.ephemeral() as instance:
        done = _Operator(case, instance, strategy).operate(start, end)
    target = json_path or folder / "replay.json"
    for path in (folder / "replay.json", target):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(done), indent=1), encoding="utf-8")
    _plot(siblings, case.objective, target.with_suffix(".png"))
    console.print(f"{target}\n{target.with_suffix('.png')}", highlight=False)
    return done


@contextmanager
def _home_at(folder: Path) -> Iterator[None]:
    """Let everything generated lie in `folder`."""
    before = os.environ.get("MLOPS_HOME")
    os.environ["MLOPS_HOME"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["MLOPS_HOME"]
        else:
            os.environ["MLOPS_HOME"] = before


class _Operator:
    """Does each Monday what sensors and schedules do in production, with the same assets."""

    def __init__(self, case: UseCase, instance: dg.DagsterInstance, strategy: Strategy) -> None:
        self.case, self.instance = case, instance
        self.calendar = case.calendar
        self.record = Replay(case.name, strategy)
        jobs = [
            dg.define_asset_job(f"replay_{name}", [f"{case.name}/{asset}" for asset in assets])
            for name, assets in JOBS.items()
        ]
        self.defs = dg.Definitions.merge(definitions([case]), dg.Definitions(jobs=jobs))
        self.seconds = 0.0
        self.alarms: list[tuple[CauseKind, str]] = []

    def operate(self, start: date, end: date) -> Replay:
        weeks = self.calendar.week_keys(self.calendar.midnight(start), self.calendar.midnight(end))
        if not weeks:
            raise ValueError(f"no Monday lies from {start} to {end}; give a longer time")
        self._begin(weeks[0])
        for n, week in enumerate(weeks):
            self._live(week)
            self._look_back(weeks[: n + 1], self.calendar.week(week)[1])
            if n + 1 < len(weeks):
                self._decide(weeks[n + 1])
            self._tell(self.record.weeks[-1])
        self._look_back(weeks, self.calendar.week(weeks[-1])[1] + self._maturing())
        return self.record

    def _begin(self, monday: str) -> None:
        """The data that the first model needs, and that model."""
        first, start = self.calendar.week(monday)[0], self.calendar.midnight(self.case.start)
        since = max(first - self.case.train_window, start)
        before = self.calendar.keys(max(since - self.case.history, start), since)
        if before:
            self._run("fetch", before, first)
        self._run("ingest", self.calendar.keys(since, first), first)
        if not self._train(monday):
            raise SystemExit(f"no first model as of {monday}: the gate refused it")

    def _live(self, week: str) -> None:
        """The week's data come in, are predicted and compared with what was learnt."""
        start, end = self.calendar.week(week)
        days = self.calendar.keys(start, end)
        self._run("ingest", days, end)
        self._run("predict", days, end)
        drift = self._run("drift", [week], end)
        rows = self._stage().read("predictions", days, [*self.case.key])
        in_charge = ledger.champion_at(ledger.entries(self._stage().tables, self.case), start)
        assert in_charge is not None  # or there were no predictions
        self.record.weeks.append(
            Week(
                week=week,
                rows=len(rows),
                model_version=in_charge.model_version,
                retrained=self._retrained(week),
                drift_failed=bool(drift.failed_checks),
            )
        )
        if drift.failed_checks:
            self.alarms.append(("drift", week))

    def _look_back(self, weeks: Sequence[str], now: datetime) -> None:
        """Measure the weeks whose truth has matured by now."""
        for week, record in zip(weeks, self.record.weeks, strict=True):
            end = self.calendar.week(week)[1]
            if record.metrics or end + self._maturing() > now:
                continue
            self._run("mature", self.calendar.keys(end - self._maturing(), end), now)
            outcome = self._run("performance", [week], now)
            record.performance_failed = bool(outcome.failed_checks)
            if outcome.failed_checks:
                self.alarms.append(("performance", week))
            record.metrics = self._metrics(week)

    def _decide(self, monday: str) -> None:
        """What speaks for a training as of a Monday, and what is decided about it."""
        if self.record.strategy == "never":
            choice = Choice(monday, "skip", "this strategy never retrains", "none")
            self.record.decisions.append(choice)
        for cause in self._causes(monday):
            self._obey(decisions.decide(self._stage().tables, self.case, cause, cause.at), monday)

    def _causes(self, monday: str) -> Iterator[Cause]:
        now = self.calendar.week(monday)[0]
        if self.record.strategy == "scheduled":
            yield self._cause("schedule", now, "a week has passed")
        if self.record.strategy != "drift":
            return
        for kind, week in self.alarms:
            yield self._cause(kind, now, f"{kind} in the week of {week} failed", week)
        if not self.alarms and decisions.overdue(self._stage().tables, self.case, now):
            yield self._cause("age", now, "no check failed, but the model is old")
        self.alarms.clear()

    def _cause(self, kind: CauseKind, now: datetime, text: str, week: str = "") -> Cause:
        return Cause(
            id=f"{now:%Y%m%d}-{kind}-{week}",
            kind=kind,
            at=now,
            text=text,
            week=week,
            until=self.calendar.week(week)[1] if week else None,
        )

    def _obey(self, record: decisions.Record, monday: str) -> None:
        assert record.decision  # `decide` has decided
        choice = Choice(monday, record.decision, record.reason, record.cause)
        self.record.decisions.append(choice)
        if record.decision == "retrain":
            progress: Literal["promoted", "kept"] = "promoted" if self._train(monday) else "kept"
            decisions.close(
                self._stage().tables, self.case, record, progress, progress, run_id="replay"
            )

    def _train(self, monday: str) -> bool:
        """Train as of a Monday; False where the gate kept the champion."""
        outcome = self._run("train", [monday], self.calendar.week(monday)[0], may_be_refused=True)
        return outcome.success

    def _run(
        self, job: str, partitions: Sequence[str], now: datetime, may_be_refused: bool = False
    ) -> Outcome:
        outcome = run(
            self.defs,
            f"replay_{job}",
            partitions,
            instance=self.instance,
            title=f"{partitions[-1]}: {job}",
            resources={"clock": {"fixed": now.astimezone(UTC).isoformat()}},
            ops={f"{self.case.name}__drift": {"evidently": False}} if job == "drift" else None,
            quiet=True,
        )
        self.seconds += outcome.seconds
        if not outcome.success and not (may_be_refused and outcome.refused):
            raise SystemExit(f"{job} of {partitions[-1]} failed: {'; '.join(outcome.failures)}")
        return outcome

    def _stage(self) -> Stage:
        """Access to what is stored."""
        return Stage(
            Task(
                use_case=self.case.name,
                stage="",
                partitions=(),
                tables=str(home("tables")),
                artifacts=str(home("artifacts")),
                now=datetime.now(UTC).isoformat(),
            )
        )

    def _maturing(self) -> timedelta:
        """How long after a week its last label is known: whole days."""
        return -(-self.case.label_delay // DAY) * DAY + DAY

    def _retrained(self, week: str) -> bool:
        return any(c.week == week and c.decision == "retrain" for c in self.record.decisions)

    def _metrics(self, week: str) -> dict[str, float]:
        found = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(
                dg.AssetKey([self.case.name, "performance"]), asset_partitions=[week]
            ),
            limit=1,
        ).records[0]
        metadata = found.asset_materialization.metadata if found.asset_materialization else {}
        values = {name: metadata[name].value for name in self.case.metrics if name in metadata}
        return {n: float(v) for n, v in values.items() if isinstance(v, int | float)}

    def _tell(self, week: Week) -> None:
        week.compute_seconds, self.seconds = round(self.seconds, 2), 0.0
        drift = "[yellow]drift[/yellow]" if week.drift_failed else ""
        console.print(
            f"{week.week}: {week.rows} rows by version {week.model_version} {drift}"
            f" [dim]{week.compute_seconds:.0f} s[/dim]",
            highlight=False,
        )


def _plot(siblings: Path, metric: str, target: Path) -> None:
    """The metric by week of every strategy replayed over these weeks, retrainings marked."""
    from mlops_assets.reports.replay import chart

    found = {
        path.parent.name: json.loads(path.read_bytes())
        for path in sorted(siblings.glob("*/replay.json"))
    }
    target.write_bytes(chart(found, metric))
