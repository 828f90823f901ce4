"""The images of the README: `make screenshots`, after `make demo`."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from selenium.webdriver import Chrome

from mlops_assets_tests.browser import (
    Box,
    Node,
    absent,
    chromium,
    nodes,
    open_lineage,
    wait,
    webserver,
)
from resources.home import home

USE_CASE, WEEK = "flight_delays", "2013-04-01"
IMAGES = Path(__file__).with_name("images")
LINEAGE, MARGIN = (2700, 1300), 20
"""Wide enough for the graph to show what is in its nodes."""
REPORT = (1120, 1505)
SHOWN = '["checks", "partitions", "kind-tag"]'


def main() -> None:
    """Write both; exits with what is absent."""
    report = home("artifacts", USE_CASE, "evaluation", WEEK, "report.html")
    if not report.exists():
        sys.exit(f"{report} does not exist; run make demo first")
    if absent():
        sys.exit(f"there is no browser; install {' and '.join(absent())}")
    IMAGES.mkdir(exist_ok=True)
    with chromium(*REPORT) as driver:
        driver.get(report.as_uri())
        _save("evaluation", driver.get_screenshot_as_png())
    with webserver(home()) as url, chromium(*LINEAGE) as driver:
        driver.get(f"{url}/server_info")  # a page whose storage can be set
        driver.execute_script("localStorage.setItem('asset-node-facets', arguments[0])", SHOWN)
        open_lineage(driver, url, USE_CASE)
        boxes = [node.box for node in wait(driver, _told)]
        _save("lineage", driver.get_screenshot_as_png(), _around(boxes))


def _told(driver: Chrome) -> list[Node]:
    """The nodes, once each shows what is stored."""
    found = nodes(driver)
    told = all("Passed" in node.text for node in found)
    return found if told and any("filled" in node.text for node in found) else []


def _around(boxes: Sequence[Box]) -> Box:
    left, top, right, bottom = zip(*boxes, strict=True)
    return min(left) - MARGIN, min(top) - MARGIN, max(right) + MARGIN, max(bottom) + MARGIN


def _save(name: str, png: bytes, box: Box | None = None) -> None:
    image = Image.open(io.BytesIO(png)).convert("RGB").crop(box)
    target = IMAGES / f"{name}.png"
    image.save(target, optimize=True)
    print(f"{target}: {image.width} x {image.height}, {target.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
