"""What drift looks like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlops_assets.reports import COLORS
from mlops_assets.reports.evaluation import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mlops_assets.ml.drift import Bar

MOST = 15


def effects(findings: Sequence[Mapping[str, Any]]) -> Picture:
    """The size of each change, the largest on top, coloured by what it means for the verdict."""
    shown = sorted(findings, key=lambda finding: abs(finding["effect"]))[-MOST:]

    def draw(ax: Axes) -> None:
        colors = [COLORS[_color(finding)] for finding in shown]
        ax.barh([f["name"] for f in shown], [abs(f["effect"]) for f in shown], color=colors)
        ax.set_xlabel("size of the change")
        ax.grid(axis="y", visible=False)

    text = "Red fails the check, orange differs without being worth an alarm, grey is natural."
    return Picture("Size of each change", draw, text, height=0.24 * len(shown) + 0.9)


def distribution(name: str, message: str, bars: Sequence[Bar]) -> Picture:
    """How the values of a column lie in the reference and in the window."""

    def draw(ax: Axes) -> None:
        places = range(len(bars))
        for offset, label, color in ((-0.2, "reference", "dummy"), (0.2, "week", "candidate")):
            shares = [bar.current if label == "week" else bar.reference for bar in bars]
            ax.bar([x + offset for x in places], shares, 0.4, label=label, color=COLORS[color])
        ax.set_xticks(list(places), [bar.label for bar in bars], rotation=40, ha="right")
        ax.yaxis.set_major_formatter(_percent())
        ax.grid(axis="x", visible=False)
        ax.legend()

    return Picture(name, draw, message)


def _color(finding: Mapping[str, Any]) -> str:
    if finding["failed"]:
        return "bad"
    return "champion" if finding["drifted"] else "dummy"


def _percent() -> Callable[[float, float], str]:
    return lambda value, _: f"{100 * value:.0f} %"
