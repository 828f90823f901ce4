"""From a stage's JSON to what Dagster shows."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from resources.compute.task import TaskResult

VALUES = {
    "md": dg.MetadataValue.md,
    "json": dg.MetadataValue.json,
    "text": dg.MetadataValue.text,
    "path": dg.MetadataValue.path,
    "url": dg.MetadataValue.url,
}


def shown(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as Dagster values."""
    return {
        name: VALUES[value["type"]](value["raw_value"]) if isinstance(value, Mapping) else value
        for name, value in metadata.items()
    }


def materialized(
    context: dg.AssetExecutionContext, result: TaskResult, **more: Any
) -> Iterator[dg.MaterializeResult[None] | dg.AssetMaterialization]:
    """Report a result: each partition with its own metadata and data version.

    In a run over a range Dagster gives all partitions one data version. Each is therefore
    reported once more with its own, so that one changed day makes stale what depends on it alone.
    """
    facts = {
        key: {name: value for name, value in values.items() if name != "data_version"}
        for key, values in result.partitions.items()
    }
    if len(facts) == 1:
        ((only, values),) = facts.items()
        metadata = {**result.metadata, **values, **more}
        version = str(result.partitions[only]["data_version"])
        yield dg.MaterializeResult(metadata=shown(metadata), data_version=dg.DataVersion(version))
        return
    for key, values in facts.items():
        context.add_asset_metadata(shown(values), partition_key=key)
    yield dg.MaterializeResult(
        metadata=shown({**result.metadata, **more}),
        data_version=dg.DataVersion(result.data_version),
    )
    yield from _own_versions(context, result, facts)


def announced(instance: dg.DagsterInstance, asset: dg.AssetKey, partition: str) -> str:
    """The data version under which Dagster knows a partition; empty where it knows of none."""
    record = instance.get_latest_data_version_record(asset, partition_key=partition)
    materialization = record.asset_materialization if record else None
    return (materialization.tags or {}).get(DATA_VERSION_TAG, "") if materialization else ""


def _own_versions(
    context: dg.AssetExecutionContext, result: TaskResult, facts: Mapping[str, Mapping[str, Any]]
) -> Iterator[dg.AssetMaterialization]:
    if not facts:
        return
    record = context.instance.get_latest_materialization_event(context.asset_key)
    tags = (
        record.asset_materialization.tags or {} if record and record.asset_materialization else {}
    )
    for key, values in facts.items():
        version = str(result.partitions[key]["data_version"])
        yield dg.AssetMaterialization(
            context.asset_key,
            partition=key,
            metadata=shown(values),
            tags={**tags, DATA_VERSION_TAG: version},
        )
