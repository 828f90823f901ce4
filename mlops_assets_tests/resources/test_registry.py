import signal
import subprocess
import sys

import pytest

from resources.mlflow_client import client
from resources.registry import Registry

MODEL = {
    "run_id": "0" * 32,
    "source": "/files/parcels/candidate/2013-04-01/model.skops",
    "sha256": "a" * 64,
    "as_of": "2013-04-01",
}


@pytest.fixture
def use_case(request: pytest.FixtureRequest) -> str:
    """A name of the test's own, since tests share a database."""
    return request.node.name


def test_a_version_is_what_was_registered(registry: Registry, use_case: str) -> None:
    version = registry.register(use_case, **MODEL, description="Weekly", tags={"by": "Ada"})
    found = registry.version(use_case, version)
    assert version == found.version == "1"
    assert found.source == MODEL["source"]
    assert found.sha256 == MODEL["sha256"]
    assert found.as_of == "2013-04-01"
    assert found.run_id == MODEL["run_id"]
    assert found.url.endswith(f"/#/models/{use_case}/versions/1")
    stored = client(registry.tracking_uri).get_model_version(use_case, "1")
    assert stored.description == "Weekly"
    assert stored.tags["by"] == "Ada"


def test_registering_again_makes_no_second_version(registry: Registry, use_case: str) -> None:
    first = registry.register(use_case, **MODEL)
    assert registry.register(use_case, **MODEL | {"run_id": "1" * 32}) == first
    assert registry.register(use_case, **MODEL | {"as_of": "2013-04-08"}) == "2"
    assert registry.register(use_case, **MODEL | {"sha256": "b" * 64}) == "3"


def test_a_version_is_found_by_its_content(registry: Registry, use_case: str) -> None:
    with pytest.raises(LookupError):
        registry.find(use_case, sha256=MODEL["sha256"], as_of="2013-04-01")
    version = registry.register(use_case, **MODEL)
    found = registry.find(use_case, sha256=MODEL["sha256"], as_of="2013-04-01")
    assert found == registry.version(use_case, version)
    for other in ({"sha256": "b" * 64, "as_of": "2013-04-01"}, {"sha256": "a" * 64, "as_of": "x"}):
        with pytest.raises(LookupError):
            registry.find(use_case, **other)


def test_use_cases_have_versions_of_their_own(registry: Registry, use_case: str) -> None:
    registry.register(use_case, **MODEL)
    assert registry.register(f"{use_case}_too", **MODEL) == "1"


def test_one_version_at_a_time_has_a_role(registry: Registry, use_case: str) -> None:
    assert registry.alias(use_case, "champion") is None
    first = registry.register(use_case, **MODEL)
    second = registry.register(use_case, **MODEL | {"as_of": "2013-04-08"})
    assert registry.alias(use_case, "champion") is None
    registry.set_alias(use_case, "champion", first)
    registry.set_alias(use_case, "challenger", second)
    assert registry.alias(use_case, "champion") == first
    registry.set_alias(use_case, "champion", second)
    registry.set_alias(use_case, "champion", second)
    assert registry.alias(use_case, "champion") == second
    assert registry.alias(use_case, "challenger") == second


@pytest.mark.parametrize("version", ["2", "latest"])
def test_what_was_never_registered_is_refused(
    registry: Registry, use_case: str, version: str
) -> None:
    use_case = use_case.partition("[")[0]
    registry.register(use_case, **MODEL)
    with pytest.raises(LookupError, match=f"has no version {version} in the registry"):
        registry.version(use_case, version)
    with pytest.raises(LookupError, match=f"has no version {version} in the registry"):
        registry.set_alias(use_case, "champion", version)
    assert registry.alias(use_case, "champion") is None


def test_a_version_made_by_hand_is_not_trusted(registry: Registry, use_case: str) -> None:
    mlflow = client(registry.tracking_uri)
    mlflow.create_registered_model(use_case)
    mlflow.create_model_version(use_case, "/tmp/model.pkl")
    with pytest.raises(LookupError, match="registered by hand"):
        registry.version(use_case, "1")


KILLED = """
import os, signal, sys
from mlflow import MlflowClient
from mlops_assets_tests.resources.test_registry import MODEL
from resources.registry import Registry

create = MlflowClient.create_model_version

def create_and_die(*args, **kwargs):
    create(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)

MlflowClient.create_model_version = create_and_die
Registry(tracking_uri=sys.argv[1]).register(sys.argv[2], **MODEL)
"""


@pytest.mark.faults
def test_a_registration_that_was_killed_is_taken_up(registry: Registry, use_case: str) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, registry.tracking_uri, use_case])
    assert killed.returncode == -signal.SIGKILL
    assert registry.register(use_case, **MODEL) == "1"
    assert registry.version(use_case, "1").sha256 == MODEL["sha256"]
    assert len(client(registry.tracking_uri).search_model_versions(f"name = '{use_case}'")) == 1
