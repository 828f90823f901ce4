"""What people see of a life cycle: the real command, opened in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import httpx
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from mlops_assets.definitions import definitions
from mlops_assets.operations import runs
from mlops_assets_tests.browser import (
    Served,
    absent,
    chromium,
    errors,
    nodes,
    open_lineage,
    served,
    wait,
)
from mlops_assets_tests.toy import TOY

pytestmark = pytest.mark.browser

WEEK, NOW = "2024-01-29", "2024-01-30T12:00:00+00:00"
ENVIRONMENT = {"MLOPS_USE_CASES": "mlops_assets_tests.toy_use_case", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Iterator[Path]:
    """Where the toy has lived until its first promotion."""
    if absent():
        pytest.skip(f"NO PAGE IS LOOKED AT: install {' and '.join(absent())}")
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLOPS_HOME", str(folder))
        patch.setenv("DAGSTER_HOME", str(folder / "dagster"))
        live()
    return folder


def live() -> None:
    until_promotion = dg.AssetSelection.assets(["parcels", "champion"]).upstream()
    trained = until_promotion - dg.AssetSelection.assets(
        *(["parcels", name] for name in ("dataset", "features", "labels"))
    )
    defs = dg.Definitions.merge(
        definitions([TOY]), dg.Definitions(jobs=[dg.define_asset_job("promote", trained)])
    )
    calendar = TOY.calendar
    days = calendar.keys(calendar.midnight(date(2024, 1, 1)), calendar.midnight(date(2024, 1, 29)))
    clock = {"clock": {"fixed": NOW}}
    with runs.instance() as instance:
        for job, keys in (("parcels_ingest", days), ("promote", [WEEK])):
            outcome = runs.run(defs, job, keys, instance=instance, title=job, resources=clock)
            assert outcome.success, outcome.failures


@pytest.fixture(scope="module")
def ui(home) -> Iterator[Served]:
    with served(home, ENVIRONMENT) as found:
        yield found


@pytest.fixture(scope="module")
def page(home) -> Iterator[Chrome]:
    with chromium() as driver:
        yield driver


def test_the_graph_shows_every_asset(ui, page):
    expected = {key.path[-1] for key in assets()}
    open_lineage(page, ui.dagster, TOY.name)
    wait(page, lambda page: len(nodes(page)) >= len(expected))
    assert {node.name for node in nodes(page)} == expected


def assets() -> set[dg.AssetKey]:
    return definitions([TOY]).resolve_asset_graph().get_all_asset_keys()


def test_an_evaluation_shows_its_numbers_and_plots(ui, page):
    page.get(f"{ui.dagster}/assets/parcels/evaluation?partition={WEEK}&view=partitions")
    number = wait(page, lambda page: page.find_element(By.XPATH, f"{row('log_loss')}/td[2]"))
    assert 0 < float(number.text) < 1
    page.find_element(By.XPATH, f"{row('quality_plot')}//*[text()='[Show Markdown]']").click()
    image = wait(page, lambda page: page.find_element(By.XPATH, "//img[starts-with(@src,'data:')]"))
    assert image.get_attribute("src").startswith("data:image/png")
    assert int(image.get_attribute("naturalWidth")) > 0
    assert not errors(page)


def row(name: str) -> str:
    """XPath of the metadata of that name."""
    return f"//tr[td[1][normalize-space()='{name}']]"


def test_a_report_opens_without_complaints(home, page):
    errors(page)  # forget those of other pages
    page.get((home / "artifacts/parcels/evaluation" / WEEK / "report.html").as_uri())
    assert "The candidate may be promoted" in page.find_element(By.TAG_NAME, "body").text
    plots = page.find_elements(By.CSS_SELECTOR, "figure svg")
    assert plots
    assert all(plot.size["width"] > 100 for plot in plots)
    assert not errors(page)


def test_mlflow_shows_the_training(ui, page):
    page.get(f"{ui.mlflow}/#/experiments")
    wait(page, lambda page: page.find_elements(By.XPATH, "//*[text()='parcels']"))
    found = httpx.get(f"{ui.mlflow}/ajax-api/2.0/mlflow/registered-models/get?name=parcels")
    assert found.json()["registered_model"]["aliases"]


def test_interrupting_the_command_ends_all_it_started(ui):
    assert len(ui.processes()) > 2
    assert ui.stop() == []
    assert ui.process.returncode == 0
