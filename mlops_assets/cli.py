"""The command line: what people and CI do with life cycles outside the Dagster UI."""

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Strategy(StrEnum):
    drift = "drift"
    scheduled = "scheduled"
    never = "never"


app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Operate the life cycles of models. Everything generated lies under `$MLOPS_HOME`"
    " (default: `.mlops`).",
)


@app.command()
def demo() -> None:
    """Run the life cycle of flight_delays on the first months of 2013.

    Fetches and checks the data, computes features and labels, trains, evaluates, promotes and
    packages a model, predicts the weeks that follow and watches them. Exits 0 only if every
    blocking check passed.
    """
    from mlops_assets.operations.demo import demo

    demo()


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="Where to serve the Dagster UI.")] = 3000,
    mlflow_port: Annotated[int, typer.Option(help="Where to serve the MLflow UI.")] = 5000,
) -> None:
    """Serve the Dagster UI, with its daemon, and the MLflow UI, until interrupted."""
    from mlops_assets.operations.ui import ui

    ui(port, mlflow_port)


@app.command()
def check(
    select: Annotated[
        str, typer.Option(help="Assets whose checks to run, as Dagster selects: `key:` `group:` …")
    ] = "*",
    partition: Annotated[
        str | None, typer.Option(help="Partition to check. Default: each asset's latest.")
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(help="Write the results as JUnit XML, for CI.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the results as a Markdown table.")
    ] = None,
) -> None:
    """Run asset checks on what is stored.

    Exits 1 if a check of severity ERROR failed, whether blocking or not, and names those that did;
    2 if nothing that was selected can be checked.
    """
    from mlops_assets.operations.check import check

    raise typer.Exit(check(select, partition, junit, markdown))


@app.command()
def replay(
    use_case: Annotated[str, typer.Argument(help="Name of the use case.")],
    start: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="First day.")],
    end: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Day after the last.")],
    strategy: Annotated[
        Strategy,
        typer.Option(help="When to retrain: as the sensor decides, every week, or never."),
    ] = Strategy.drift,
    json: Annotated[
        Path | None, typer.Option(help="Where to write the record; the plot goes beside it.")
    ] = None,
) -> None:
    """Operate a use case through past time, week by week, by the real assets.

    Ingests, predicts, matures labels, monitors, decides, retrains and promotes, in a home of its
    own under `$MLOPS_HOME/replays`. Replays of the same weeks are plotted side by side.

    Example: `mlops-assets replay flight_delays --start 2013-04-01 --end 2013-07-01`
    """
    from mlops_assets.operations.replay import replay

    replay(use_case, start.date(), end.date(), strategy.value, json)


@app.command()
def drill(
    scenario: Annotated[
        list[str] | None, typer.Argument(help="Scenarios to play. Default: all of them.")
    ] = None,
) -> None:
    """Play what goes wrong in a year, against the real assets, daemon and service.

    A drifted week, a lost column, a bad challenger, labels a month late, a poisoned model file, and
    the daemon and the service killed: says for each what should happen and what did, in a simulated
    world of its own under `$MLOPS_HOME/drill`. Exits 0 only if all agree.

    Example: `mlops-assets drill poisoned_model bad_challenger`
    """
    from mlops_assets.operations.drill import SCENARIOS, drill

    unknown = sorted(set(scenario or ()) - set(SCENARIOS))
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    raise typer.Exit(drill(scenario or ()))


@app.command()
def rollback(
    use_case: Annotated[str, typer.Argument(help="Name of the use case.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the ledger.")],
    to: Annotated[
        str | None, typer.Option(help="Version in the registry. Default: the one before.")
    ] = None,
) -> None:
    """Put an earlier version in charge: ledger, registry alias and, if one is live, deployment.

    The version that is left comes back by a new evaluation only. Asked again by the same person
    for the same reason, it goes no further back.
    """
    from mlops_assets.operations.rollback import rollback

    raise typer.Exit(rollback(use_case, to, reason))


@app.command()
def stop(use_case: Annotated[str, typer.Argument(help="Name of the use case.")]) -> None:
    """End a use case's live service, which otherwise outlives Dagster.

    Materialising its `deployment` starts it again.
    """
    from mlops_assets.operations.stop import stop

    raise typer.Exit(stop(use_case))


@app.command()
def doctor() -> None:
    """Say what this machine has and lacks, and the next step for each."""
    from mlops_assets.operations.doctor import doctor

    raise typer.Exit(doctor())


if __name__ == "__main__":
    app()
