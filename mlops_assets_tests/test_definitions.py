"""The whole graph as a snapshot: a change of it is seen, and meant.

After a change that is meant: `UPDATE_SNAPSHOT=1 pytest mlops_assets_tests/test_definitions.py`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlops_assets.definitions import definitions
from mlops_assets.use_cases import discover

SNAPSHOT = Path(__file__).with_name("definitions.json")


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    return definitions(discover())


def graph(defs: dg.Definitions) -> dict[str, Any]:
    assets = defs.resolve_asset_graph()
    keys = sorted(assets.get_all_asset_keys())
    jobs = [job.name for job in defs.resolve_all_job_defs() if not job.name.startswith("__")]
    return {
        "assets": {key.to_user_string(): described(assets.get(key)) for key in keys},
        "jobs": sorted(jobs),
        "sensors": sorted(sensor.name for sensor in defs.sensors or []),
    }


def described(node: Any) -> dict[str, Any]:
    spec = node.assets_def.get_asset_spec(node.key)
    return {
        "deps": {
            dep.asset_key.to_user_string(): mapping(dep.partition_mapping) for dep in spec.deps
        },
        "partitions": partitions(spec.partitions_def),
        "group": spec.group_name,
        "owners": list(spec.owners),
        "kinds": sorted(spec.kinds),
        "stage": spec.tags["stage"],
        "checks": sorted(key.name for key in node.check_keys),
        "automation": spec.automation_condition is not None,
    }


def mapping(found: dg.PartitionMapping | None) -> str:
    if not isinstance(found, dg.TimeWindowPartitionMapping):
        return type(found).__name__ if found else "same"
    return f"{found.start_offset} to {found.end_offset}"


def partitions(found: dg.PartitionsDefinition | None) -> str | None:
    if not isinstance(found, dg.TimeWindowPartitionsDefinition):
        return type(found).__name__ if found else None
    cut = found.schedule_type.value if found.schedule_type else found.cron_schedule
    return f"{cut}, {found.timezone}, from {found.get_first_partition_key()}"


def test_the_graph_is_the_one_we_know(defs):
    found = graph(defs)
    if os.environ.get("UPDATE_SNAPSHOT"):
        SNAPSHOT.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(SNAPSHOT.read_text())


def test_every_asset_says_what_it_means_and_whose_it_is(defs):
    for spec in defs.resolve_all_asset_specs():
        assert spec.description, spec.key
        assert spec.owners, spec.key
        assert spec.kinds, spec.key
        assert spec.code_version, spec.key
        assert spec.tags["stage"] in {"data", "training", "serving", "monitoring"}
        assert spec.key.path[0] == spec.group_name


def test_every_field_of_a_resource_says_what_it_is_for(defs):
    for name, resource in defs.resources.items():
        for field, info in type(resource).model_fields.items():
            assert info.description, f"{name}.{field}"


def test_every_partitioned_check_knows_its_partitions(defs):
    graph = defs.resolve_asset_graph()
    for key in graph.asset_check_keys:
        assert graph.get(key).partitions_def == graph.get(key.asset_key).partitions_def, key
