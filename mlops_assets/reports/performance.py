"""What a week's performance looks like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlops_assets.reports import COLORS
from mlops_assets.reports.evaluation import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def shortfalls(comparisons: Sequence[Mapping[str, Any]]) -> Picture:
    """How much worse than promised each measure is, as a multiple of what noise explains."""
    shown = [comparison for comparison in comparisons if comparison["limit"] > 0][::-1]

    def draw(ax: Axes) -> None:
        names = [comparison["measure"] for comparison in shown]
        values = [comparison["shortfall"] / comparison["limit"] for comparison in shown]
        colors = [COLORS["bad" if comparison["failed"] else "dummy"] for comparison in shown]
        ax.barh(names, values, color=colors)
        ax.axvline(1, color=COLORS["bad"], linestyle="--")
        ax.axvline(0, color=COLORS["muted"], linewidth=0.8)
        ax.set_xlabel("shortfall, in units of what noise explains")
        ax.grid(axis="y", visible=False)

    text = "Right of the dashed line a measure is worse than noise explains; left of 0, better."
    return Picture("Against the promise", draw, text, height=0.28 * len(shown) + 0.9)
