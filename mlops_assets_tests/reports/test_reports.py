from __future__ import annotations

import io
import re

import pytest
from jinja2 import UndefinedError
from PIL import Image

from mlops_assets import reports
from mlops_assets.reports.evaluation import _calibration


def line(ax):
    ax.plot([0, 1], [0, 2], color=reports.COLORS["candidate"], label="candidate")
    ax.legend()


def test_an_svg_takes_its_colours_from_the_page():
    drawn = reports.svg(reports.figure(line))
    assert drawn.startswith("<svg")
    assert "var(--candidate)" in drawn
    assert re.findall(r"#[0-9a-fA-F]{6}\b", drawn) == []
    assert "font-family" not in drawn


def test_the_same_figure_is_the_same_file():
    assert reports.svg(reports.figure(line)) == reports.svg(reports.figure(line))
    assert reports.png(reports.figure(line)) == reports.png(reports.figure(line))


def test_a_png_is_small():
    data = reports.png(reports.figure(line, line, titles=["one", "two"]))
    assert Image.open(io.BytesIO(data)).size == (1056, 352)
    assert len(data) < 30_000


def test_an_interval_that_rounding_has_cut_short_is_drawn():
    curve = [{"predicted": 0.9, "observed": 1.0, "low": 0.8, "high": 1 - 2**-53}]
    reports.figure(_calibration({"candidate": curve}))


def test_every_colour_of_the_palette_has_a_light_and_a_dark_form():
    page = reports.render("base.html.jinja")
    for name in reports.COLORS:
        assert len(re.findall(rf"--{name}: #", page)) == 2


def test_a_value_that_is_missing_fails_and_text_is_escaped():
    with pytest.raises(UndefinedError):
        reports.render("evaluation.html.jinja")
    macros = reports.environment().from_string(
        '{% import "macros.html.jinja" as ui %}{{ ui.card(name, 1) }}'
    )
    assert "&lt;script&gt;" in macros.render(name="<script>")


@pytest.mark.parametrize(
    ("value", "number", "signed"),
    [
        (0.47214, "0.4721", "+0.47"),
        (-0.0012, "−0.001200", "−0.0012"),
        (6000, "6,000", "+6.0e+03"),
        (0.0, "0.000", "+0.0"),
        (None, "–", "–"),
    ],
)
def test_numbers_for_people(value, number, signed):
    assert reports.number(value) == number
    assert reports.signed(value) == signed


def test_shares_for_people():
    assert reports.percent(0.2136) == "21.4 %"
    assert reports.percent(None) == "–"
