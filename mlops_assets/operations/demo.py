"""The first hour of a model: ingest, train, promote, package, predict and watch real flights."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import dagster as dg
from rich.table import Table

from mlops_assets import use_cases
from mlops_assets.operations.runs import Outcome, console, instance, label, run
from resources.home import home

USE_CASE = "flight_delays"
FIRST, LAST, TRAIN_AS_OF = date(2013, 1, 1), date(2013, 5, 5), "2013-04-01"
NOW = datetime.fromisoformat("2013-05-07T12:00:00+00:00")
"""The demo believes it is then: the labels of the last day have just matured."""


@dataclass
class _Demo:
    defs: dg.Definitions
    instance: dg.DagsterInstance
    outcomes: list[Outcome] = field(default_factory=list)

    def run(self, job: str, partitions: Sequence[str], title: str) -> Outcome:
        outcome = run(
            self.defs,
            f"{USE_CASE}_{job}",
            partitions,
            instance=self.instance,
            title=title,
            resources={"clock": {"fixed": NOW.isoformat()}},
        )
        self.outcomes.append(outcome)
        if not outcome.success:
            raise SystemExit(1)
        return outcome


def demo() -> None:
    """Run it; raises SystemExit(1) where a blocking check fails."""
    started = time.monotonic()
    console.rule(f"{USE_CASE}: {FIRST} to {LAST}")
    from mlops_assets.definitions import defs

    calendar = use_cases.get(USE_CASE).calendar
    first, last = calendar.midnight(FIRST), calendar.interval(calendar.first(LAST))[1]
    trained = calendar.week(TRAIN_AS_OF)[0]
    weeks = calendar.week_keys(trained, last)
    with instance() as dagster:
        play = _Demo(defs, dagster)
        days = calendar.keys(first, last)
        play.run("ingest", days, f"Fetch {len(days)} days, compute features and labels")
        play.run("train", [TRAIN_AS_OF], f"Train, evaluate, promote, package ({TRAIN_AS_OF})")
        days = calendar.keys(trained, last)
        play.run("predict", days, f"Predict the {len(days)} days after that")
        for week in weeks:
            play.run("monitor", [week], f"Watch the week of {week}")
        console.print(_summary(dagster, weeks))
    _places(play.outcomes, time.monotonic() - started)


def _summary(dagster: dg.DagsterInstance, weeks: Sequence[str]) -> Table:
    found = _metadata(dagster, "evaluation", TRAIN_AS_OF)
    table = Table(title=f"{USE_CASE}, model as of {TRAIN_AS_OF}")
    for column in ("", "log loss", "ROC AUC", "Brier", "drift", "performance"):
        table.add_column(column, justify="left" if not column else "right")
    names = ("log_loss", "roc_auc", "brier")
    table.add_row("dummy, held-out week", *(_number(found, f"{name}_dummy") for name in names))
    table.add_row("model, held-out week", *(_number(found, name) for name in names))
    for week in weeks:
        metrics = _metadata(dagster, "performance", week)
        verdicts = [_verdict(dagster, asset, week) for asset in ("drift", "performance")]
        table.add_row(f"week of {week}", *(_number(metrics, name) for name in names), *verdicts)
    return table


def _metadata(dagster: dg.DagsterInstance, asset: str, week: str) -> dict[str, Any]:
    records = dagster.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey([USE_CASE, asset]), asset_partitions=[week]), limit=1
    ).records
    materialization = records[0].asset_materialization
    return {n: v.value for n, v in (materialization.metadata if materialization else {}).items()}


def _number(metadata: dict[str, Any], name: str) -> str:
    value = metadata.get(name)
    return "–" if value is None else f"{value:.4f}"


def _verdict(dagster: dg.DagsterInstance, asset: str, week: str) -> str:
    history = dagster.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey([USE_CASE, asset]), asset), limit=20
    )
    for record in history:
        evaluation = record.evaluation
        if evaluation is not None and evaluation.partition == week:
            return "[green]passed[/green]" if evaluation.passed else "[yellow]failed[/yellow]"
    return "–"


def _places(outcomes: Sequence[Outcome], seconds: float) -> None:
    evaluations = [found for outcome in outcomes for found in outcome.evaluations]
    failed = [label(found) for found in evaluations if not found.passed]
    console.print(
        f"{len(evaluations) - len(failed)} of {len(evaluations)} checks passed; every blocking one"
        f" did. {seconds:.0f} s in all.\n"
        "\n[bold]Where to look[/bold]\n"
        "  make ui                     lineage, checks, plots (Dagster), runs and models (MLflow)\n"
        f"  {home('artifacts', USE_CASE)}\n"
        "                              reports: evaluation, drift, performance\n"
        f"  {home('bentoml', 'bentos', USE_CASE)}\n"
        "                              the service, as a Bento",
        highlight=False,
    )
