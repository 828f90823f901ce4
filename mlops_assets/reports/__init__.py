"""Reports people read: one page each, self-contained, with a look they share.

A template extends `base.html.jinja` and draws with the macros of `macros.html.jinja`. Figures are
made with `figure`, and end as `svg` in a page, where their colours follow the reader's light or
dark theme, or as `png` in the metadata of an asset.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS: Mapping[str, str] = {
    "paper": "#fefefe",
    "ink": "#1f2430",
    "muted": "#6b7386",
    "grid": "#e4e7ee",
    "candidate": "#3b6fe0",
    "champion": "#e08a1e",
    "dummy": "#9aa1b1",
    "good": "#1f9d61",
    "bad": "#d64545",
}
"""The palette. In a page each is the CSS variable of that name, so use no other colour."""

_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": COLORS["grid"],
    "axes.facecolor": COLORS["paper"],
    "axes.grid": True,
    "axes.labelcolor": COLORS["muted"],
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": COLORS["ink"],
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.facecolor": COLORS["paper"],
    "font.size": 9,
    "grid.color": COLORS["grid"],
    "grid.linewidth": 0.8,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.labelcolor": COLORS["ink"],
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
    "svg.fonttype": "none",  # text stays text: small, searchable, in the page's font
    "svg.hashsalt": "mlops-assets",  # the same figure is the same file
    "text.color": COLORS["ink"],
    "xtick.color": COLORS["grid"],
    "xtick.labelcolor": COLORS["muted"],
    "xtick.labelsize": 8.5,
    "ytick.color": COLORS["grid"],
    "ytick.labelcolor": COLORS["muted"],
    "ytick.labelsize": 8.5,
}


def render(template: str, **context: Any) -> str:
    """The page that a template of this package makes of `context`.

    Raises jinja2.UndefinedError where the template names a value that the context lacks.
    """
    return environment().get_template(template).render(**context)


def environment() -> Environment:
    """Where templates find each other and the filters for numbers."""
    found = Environment(
        loader=PackageLoader(__name__, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(number=number, signed=signed, percent=percent)
    return found


def figure(
    *panels: Callable[[Axes], object],
    titles: Sequence[str] = (),
    width: float = 4.8,
    height: float = 3.2,
) -> Figure:
    """Panels side by side in the shared style, each drawn by a function; inches for each."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        canvas = Figure(figsize=(width * len(panels), height), layout="constrained")
        axes = canvas.subplots(1, len(panels), squeeze=False)[0]
        for draw, ax in zip(panels, axes, strict=True):
            draw(ax)
        for title, ax in zip(titles, axes, strict=False):
            ax.set_title(title)
    return canvas


def png(figure: Figure, dpi: int = 110) -> bytes:
    """The figure as a small PNG file: 64 colours are enough for lines and bars."""
    import matplotlib as mpl
    from PIL import Image

    full, small = io.BytesIO(), io.BytesIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(full, format="png", dpi=dpi)
    image = Image.open(full).convert("RGB").quantize(64, dither=Image.Dither.NONE)
    image.save(small, format="png", optimize=True)
    return small.getvalue()


def svg(figure: Figure) -> str:
    """The figure as an <svg> element that fills its container and takes the page's colours."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _inline(buffer.getvalue())


def number(value: float | None, digits: int = 4) -> str:
    """A number for people, e.g. 0.4721; a dash where there is none."""
    return "–" if value is None else f"{value:#,.{digits}g}".rstrip(".").replace("-", "−")


def signed(value: float | None, digits: int = 2) -> str:
    """A difference for people, e.g. +0.012 or −0.0030."""
    return "–" if value is None else f"{value:+#,.{digits}g}".rstrip(".").replace("-", "−")


def percent(value: float | None, digits: int = 1) -> str:
    """A share for people, e.g. 21.4 %."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def _inline(document: str) -> str:
    """What an SVG file needs to live inside a page, and no more."""
    element = document[document.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>\s*", "", element, flags=re.DOTALL)
    element = re.sub(r'<g id="[\w.]+_\d+">', "<g>", element)  # would repeat in the next figure
    element = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", element)
    element = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", element)
    element = re.sub(r"font-family: [^;\"]+; ", "", element)
    for name, color in COLORS.items():
        element = element.replace(color, f"var(--{name})")
    return element
