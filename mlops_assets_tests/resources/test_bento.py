"""Bentos appear whole, once, the same for the same content, and name no package index."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from resources import bento
from resources.artifacts import TamperedError, sha256
from resources.bento import BentoSpec, BuildError, BuiltService
from resources.images import Images

SERVICE = b"""
import bentoml

@bentoml.service
class Hello:
    @bentoml.api
    def hello(self) -> str:
        return "hello"
"""
SPEC = BentoSpec(
    name="hello",
    model_version="3",
    service="app.main:Hello",
    files={"app/main.py": SERVICE, "model.bin": b"weights"},
    model="model.bin",
    model_sha256=sha256(b"weights"),
    packages=("bentoml", "numpy"),
)
INDEX = "https://packages.example.org/index"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home") / ".mlops" / "bentoml"


@pytest.fixture(scope="module")
def built(home: Path) -> BuiltService:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "UV_INDEX_URL"):
            patch.setenv(name, INDEX)
        return Images(home=str(home)).build(SPEC)


def everything(built: BuiltService) -> bytes:
    return b"\n".join(p.read_bytes() for p in Path(built.path).rglob("*") if p.is_file())


def test_reports_what_was_built(built: BuiltService, home: Path) -> None:
    assert re.fullmatch(r"hello:3-[0-9a-f]{12}", built.tag)
    assert Path(built.path) == home / "bentos" / built.tag.replace(":", "/")
    assert built.size == sum(p.stat().st_size for p in Path(built.path).rglob("*") if p.is_file())
    assert built.model_sha256 == SPEC.model_sha256


def test_names_no_package_index_and_nothing_of_the_builder(built: BuiltService, home: Path) -> None:
    content = everything(built)
    for word in (INDEX, "index-url", "find-links", "trusted-host", str(home), str(Path.home())):
        assert word.encode() not in content


def test_pins_what_is_installed_with_all_it_requires(built: BuiltService) -> None:
    text = (Path(built.path) / "env/python/requirements.txt").read_text()
    pins = dict(line.split("==") for line in text.split())
    assert {"bentoml", "numpy", "starlette", "pydantic", "pydantic-core"} <= set(pins)
    assert len(pins) == len(text.split())
    assert "dagster" not in pins


def test_the_same_content_is_the_same_bento(built: BuiltService, home: Path) -> None:
    before = os.stat(Path(built.path) / "bento.yaml").st_mtime_ns
    assert bento.build(SPEC, home) == built
    assert os.stat(Path(built.path) / "bento.yaml").st_mtime_ns == before


def test_other_content_is_another_bento(built: BuiltService, home: Path) -> None:
    other = bento.build(replace(SPEC, files={**SPEC.files, "note.txt": b"new"}), home)
    assert other.tag != built.tag
    assert other.digest != built.digest


def test_refuses_a_model_that_is_not_the_recorded_one(home: Path) -> None:
    poisoned = replace(SPEC, files={**SPEC.files, "model.bin": b"poison"})
    with pytest.raises(TamperedError, match=r"model\.bin of hello 3"):
        bento.build(poisoned, home)


def test_refuses_a_bento_that_was_changed_in_the_store(
    built: BuiltService, home: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(home, tmp_path / "copy")
    (copy / Path(built.path).relative_to(home) / "src" / "model.bin").write_bytes(b"poison")
    with pytest.raises(TamperedError, match="is not what was built"):
        bento.build(SPEC, copy)


def test_shows_why_a_build_failed_and_leaves_nothing(tmp_path: Path) -> None:
    broken = replace(SPEC, files={**SPEC.files, "app/main.py": b"import nowhere_to_be_found"})
    with pytest.raises(BuildError, match="nowhere_to_be_found"):
        bento.build(broken, tmp_path)
    assert list((tmp_path / "bentos" / "hello").iterdir()) == []


@pytest.mark.faults
def test_killed_half_way_it_leaves_nothing_and_builds_the_same_again(
    built: BuiltService, tmp_path: Path
) -> None:
    slow = b"import time\ntime.sleep(60)\n"
    script = f"""
from pathlib import Path
from dataclasses import replace
from mlops_assets_tests.resources.test_bento import SPEC
from resources import bento
bento.build(replace(SPEC, files={{**SPEC.files, "app/main.py": {slow!r}}}), Path({str(tmp_path)!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    while not (tmp_path / ".build" / "bentofile.yaml").exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert list((tmp_path / "bentos" / "hello").iterdir()) == []
    assert bento.build(SPEC, tmp_path).digest == built.digest
    assert not (tmp_path / ".build").exists()
