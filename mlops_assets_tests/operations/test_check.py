from __future__ import annotations

import shutil
from xml.etree import ElementTree

import pytest

from mlops_assets.operations.check import Finding, to_junit, to_markdown
from mlops_assets_tests.operations.conftest import Home
from resources.delta import DeltaStore

FINDINGS = [
    Finding("parcels/dataset", "contract", "2024-02-11", "passed", "all is well"),
    Finding("parcels/dataset", "freshness", "2024-02-11", "warned", "a bit old"),
    Finding("parcels/drift", "drift", "2024-02-05", "failed", "weight | depot\nchanged <much>"),
]


def test_junit_tells_failures_and_only_those():
    root = ElementTree.fromstring(to_junit(FINDINGS))
    assert [(s.get("name"), s.get("tests"), s.get("failures")) for s in root] == [
        ("parcels/dataset", "2", "0"),
        ("parcels/drift", "1", "1"),
    ]
    (failure,) = root.iter("failure")
    assert failure.get("message") == "weight | depot\nchanged <much>"
    assert "warning: a bit old" in {element.text for element in root.iter("system-out")}


def test_markdown_shows_failures_first_and_keeps_its_table():
    lines = to_markdown(FINDINGS).splitlines()
    assert lines[2].startswith(
        "| ❌ failed | parcels/drift | drift | 2024-02-05 | weight \\| depot"
    )
    assert all(line.replace("\\|", "").count("|") == 6 for line in lines)


def test_a_healthy_home_passes(lived_home, tmp_path):
    junit, markdown = tmp_path / "junit.xml", tmp_path / "checks.md"
    done = lived_home.command(
        "check", "--select", "group:parcels", "--junit", str(junit), "--markdown", str(markdown)
    )
    assert done.returncode == 0, done.stdout
    cases = list(ElementTree.parse(junit).getroot().iter("testcase"))
    assert {"golden_request [2024-02-05]", "contract [2024-02-11]"} <= {
        c.get("name") for c in cases
    }
    assert "✅ passed | parcels/evaluation | gate_log_loss_vs_dummy" in markdown.read_text()


@pytest.fixture
def broken_home(lived_home, tmp_path):
    home = Home(shutil.copytree(lived_home.path, tmp_path / "home"))
    store = DeltaStore(str(home.path / "tables"))
    day = "2024-02-11"
    store.overwrite("parcels/predictions", store.read("parcels/predictions", [day]).head(50), [day])
    return home


def test_a_broken_table_is_named_and_fails(broken_home):
    done = broken_home.command("check", "--select", "key:parcels/predictions")
    assert done.returncode == 1, done.stdout
    assert (
        "failed parcels/predictions: row_count of 2024-02-11: 10 rows lack a score" in done.stdout
    )


def test_a_partition_can_be_named(broken_home):
    done = broken_home.command(
        "check", "--select", "key:parcels/predictions", "--partition", "2024-02-10"
    )
    assert done.returncode == 0, done.stdout


def test_nothing_to_check_is_neither_success_nor_failure(empty_home):
    done = empty_home.command("check")
    assert done.returncode == 2
    assert "make demo" in done.stdout
