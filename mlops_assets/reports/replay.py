"""The picture of replays: a metric by week for each strategy, its retrainings marked."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from mlops_assets.reports import COLORS, figure, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLES = {"scheduled": "candidate", "drift": "champion", "never": "dummy"}


def chart(replays: Mapping[str, Mapping[str, Any]], metric: str) -> bytes:
    """PNG of `metric` by week; `replays` maps strategies to their records."""
    title = f"{metric} by week; dots are weeks begun with a retraining"
    draw = partial(_draw, replays=replays, metric=metric)
    return png(figure(draw, titles=[title], width=9.0, height=3.6))


def _draw(axes: Axes, replays: Mapping[str, Mapping[str, Any]], metric: str) -> None:
    for strategy, record in replays.items():
        weeks = [week for week in record["weeks"] if metric in week["metrics"]]
        values = [week["metrics"][metric] for week in weeks]
        color = COLORS[STYLES[strategy]]
        label = f"{strategy}, {sum(values) / max(len(values), 1):.4f} on average"
        axes.plot([week["week"] for week in weeks], values, color=color, label=label)
        retrained = [week for week in weeks if week["retrained"]]
        axes.plot(
            [week["week"] for week in retrained],
            [week["metrics"][metric] for week in retrained],
            "o",
            color=color,
        )
    axes.tick_params(axis="x", rotation=60)
    axes.legend()
