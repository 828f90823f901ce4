"""What the evaluation's numbers look like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_assets.reports import COLORS, figure, png, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_FEATURES = 20


@dataclass(frozen=True)
class Picture:
    """One panel of a report; `height` in inches."""

    title: str
    draw: Callable[[Axes], None]
    caption: str
    height: float = 3.2

    @property
    def svg(self) -> str:
        return svg(figure(self.draw, width=4.2, height=self.height))


def pictures_of(
    result: Mapping[str, Any], objective: str, opponent: str
) -> dict[str, list[Picture]]:
    """Pictures of a stored result, by what they tell."""
    if "calibration" in result:
        quality = [
            Picture("Calibration", _calibration(result["calibration"]), _calibration_text(result)),
            Picture("ROC curve", _roc(result["roc"]), "The dashed line is chance."),
        ]
    else:
        text = "Median and 90 % of the errors, by predicted value."
        quality = [Picture("Errors", _residuals(result["residuals"]), text)]
    ranked = sorted(result["importance"].items(), key=lambda item: -item[1])
    shown = dict(ranked[:MAX_FEATURES])
    text = f"How much {objective} gets worse when a feature's values are shuffled."
    importance = Picture(
        "What the model relies on", _importance(shown, objective), text, _height(len(shown))
    )
    found = {"quality": quality, "importance": [importance]}
    slices = [
        Picture(
            f"By {name}",
            _slices(groups, objective, opponent),
            f"Gain over the {opponent} in each group, with the group's own 95 % interval; rows in"
            " brackets.",
            _height(len(groups)),
        )
        for name, groups in result["slices"].items()
        if groups
    ]
    return found | ({"slices": slices} if slices else {})


def picture_row(pictures: Sequence[Picture]) -> bytes:
    """Pictures side by side, as a PNG file."""
    height = max(picture.height for picture in pictures)
    titles = [picture.title for picture in pictures]
    return png(figure(*(picture.draw for picture in pictures), titles=titles, height=height))


def _calibration(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> Callable[[Axes], None]:
    """Observed against predicted share; a perfect model lies on the diagonal."""

    def draw(ax: Axes) -> None:
        top = max(
            p[end] for curve in curves.values() for p in curve for end in ("predicted", "high")
        )
        ax.plot([0, top], [0, top], color=COLORS["dummy"], linewidth=1, linestyle="--")
        for model, curve in curves.items():
            predicted = [p["predicted"] for p in curve]
            observed = [p["observed"] for p in curve]
            # Where all or none are positive, rounding lets an interval end short of what it is of.
            ends = [
                [max(0.0, p["observed"] - p["low"]) for p in curve],
                [max(0.0, p["high"] - p["observed"]) for p in curve],
            ]
            ax.errorbar(
                predicted, observed, ends, fmt="o-", color=COLORS[model], label=model, elinewidth=1
            )
        ax.set(xlabel="predicted", ylabel="observed")
        ax.legend(loc="upper left")

    return draw


def _roc(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> Callable[[Axes], None]:
    """True against false positive rate; chance lies on the diagonal."""

    def draw(ax: Axes) -> None:
        ax.plot([0, 1], [0, 1], color=COLORS["dummy"], linewidth=1, linestyle="--")
        for model, curve in curves.items():
            ax.plot(
                curve["false_positive_rate"],
                curve["true_positive_rate"],
                color=COLORS[model],
                label=model,
            )
        ax.set(xlabel="false positive rate", ylabel="true positive rate")
        ax.legend(loc="lower right")

    return draw


def _residuals(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> Callable[[Axes], None]:
    """Median error and the range of 90 % of the errors, by predicted value."""

    def draw(ax: Axes) -> None:
        ax.axhline(0, color=COLORS["dummy"], linewidth=1, linestyle="--")
        for model, curve in curves.items():
            predicted = [p["predicted"] for p in curve]
            ax.plot(predicted, [p["median"] for p in curve], "o-", color=COLORS[model], label=model)
            ax.fill_between(
                predicted,
                [p["low"] for p in curve],
                [p["high"] for p in curve],
                color=COLORS[model],
                alpha=0.15,
                linewidth=0,
            )
        ax.set(xlabel="predicted", ylabel="truth minus prediction")
        ax.legend(loc="upper left")

    return draw


def _importance(values: Mapping[str, float], metric: str) -> Callable[[Axes], None]:
    """What the model loses without each feature, the most important on top."""

    def draw(ax: Axes) -> None:
        ax.barh(list(values), list(values.values()), color=COLORS["candidate"])
        ax.invert_yaxis()
        ax.grid(visible=False, axis="y")
        ax.locator_params(axis="x", nbins=5)
        ax.set(xlabel=f"loss in {metric} when shuffled")

    return draw


def _slices(
    groups: Sequence[Mapping[str, Any]], metric: str, opponent: str
) -> Callable[[Axes], None]:
    """The gain over the opponent in each group, with its interval."""
    shown = [g for g in groups if g["metrics"][metric] is not None][::-1]

    numbers = [group["metrics"][metric] for group in shown]
    gain, low, high = (
        [found[f"gain_over_{opponent}{end}"] for found in numbers] for end in ("", "_low", "_high")
    )
    colors = [_color(*ends) for ends in zip(low, high, strict=True)]
    bounded = [n for n in range(len(shown)) if None not in (low[n], high[n])]

    def draw(ax: Axes) -> None:
        ax.axvline(0, color=COLORS["dummy"], linewidth=1, linestyle="--")
        ax.hlines(
            bounded,
            [low[n] for n in bounded],
            [high[n] for n in bounded],
            [colors[n] for n in bounded],
        )
        ax.scatter(gain, range(len(shown)), 16, colors, zorder=2)
        labels = [f"{g['group']} ({g['rows']:,.0f})" for g in shown]
        ax.set_yticks(range(len(shown)), labels)
        ax.set_ylim(-0.6, len(shown) - 0.4)
        ax.grid(visible=False, axis="y")
        ax.locator_params(axis="x", nbins=5)
        ax.set(xlabel=f"gain in {metric} over the {opponent}")

    return draw


def _color(low: float | None, high: float | None) -> str:
    """Red or green where the interval leaves no doubt about the sign."""
    if high is not None and high < 0:
        return COLORS["bad"]
    return COLORS["good" if low is not None and low > 0 else "candidate"]


def _height(rows: int) -> float:
    """Inches for a panel of as many horizontal rows."""
    return max(2.0, 0.9 + 0.2 * rows)


def _calibration_text(result: Mapping[str, Any]) -> str:
    errors = ", ".join(
        f"{error:.3f} ({name})" for name, error in result["calibration_error"].items()
    )
    return (
        "A calibrated model lies on the dashed line. Bins of equally many rows, 95 % intervals;"
        f" expected calibration error {errors}."
    )
