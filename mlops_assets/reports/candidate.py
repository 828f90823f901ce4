"""What the search for a model looks like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlops_assets.reports import COLORS, figure, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PALETTE = ("candidate", "champion", "good", "bad", "muted")


def trials(found: Sequence[Mapping[str, Any]], objective: str) -> bytes:
    """PNG of the objective of each trial; `found` holds `family` and `value` of each, in order."""

    def draw(ax: Axes) -> None:
        for color, family in zip(_PALETTE, dict.fromkeys(t["family"] for t in found), strict=False):
            numbers = [n for n, trial in enumerate(found, 1) if trial["family"] == family]
            values = [found[n - 1]["value"] for n in numbers]
            ax.plot(numbers, values, "o", color=COLORS[color], label=family)
        ax.set(xlabel="trial", ylabel=f"{objective}, mean of validation weeks")
        ax.legend()

    return png(figure(draw, titles=["Trials"]))
