"""service: the Bento of a promoted model, proven by a request whose answer is known."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import dagster as dg

from mlops_assets import ledger
from mlops_assets.ledger import Entry
from mlops_assets.lifecycle.assets import key, settings, task
from mlops_assets.lifecycle.checks import Check, specs
from mlops_assets.lifecycle.partitions import as_of_weeks
from mlops_assets.use_cases import UseCase
from resources.bento import BentoSpec, BuiltService
from resources.clock import Clock
from resources.files import Files
from resources.images import Images
from resources.registry import Registry
from resources.tables import Tables

if TYPE_CHECKING:
    import pandas as pd

SERVICE = "service"
GOLDEN_ROWS = 5
CHECKS = (
    Check(
        "golden_request",
        "The service, really started, answers a request with the model's own numbers.",
        blocking=True,
    ),
)


def build(use_case: UseCase) -> Iterator[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    partitions = as_of_weeks(use_case)
    yield _service(use_case, partitions)
    yield _golden_request(use_case, partitions)


def record_path(use_case: UseCase, week: str) -> str:
    """Where it is recorded which Bento was built for a week."""
    return f"{use_case.name}/{SERVICE}/{week}/service.json"


def _service(use_case: UseCase, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        **settings(
            use_case,
            SERVICE,
            phase="serving",
            kinds={"bentoml"},
            description="The model that was promoted, packed with the code that serves it and"
            " pinned dependencies, ready to be deployed.",
        ),
        partitions_def=partitions,
        deps=[key(use_case, "champion"), key(use_case, "training_set")],
        pool="builds",
    )
    def _asset(
        context: dg.AssetExecutionContext,
        tables: Tables,
        files: Files,
        clock: Clock,
        registry: Registry,
        images: Images,
    ) -> dg.MaterializeResult[None]:
        week = context.partition_key
        promoted = _promoted(use_case, week, tables)
        source = registry.version(use_case.name, promoted.model_version).source
        model = files.store().read_uri(source, promoted.model_sha256)
        golden_rows = _golden_rows(use_case, week, tables, files, clock)
        spec = _spec(use_case, promoted, model, golden_rows)
        built = images.build(spec)
        scores = json.loads(spec.files["golden.json"])["scores"]
        record = {"bento": asdict(built), "golden_scores": scores}
        files.store().write_json(record_path(use_case, week), record)
        return dg.MaterializeResult(
            metadata={
                "model_version": promoted.model_version,
                "tag": built.tag,
                "path": dg.MetadataValue.path(built.path),
                "size": built.size,
                "digest": built.digest,
                "model_sha256": built.model_sha256,
            },
            data_version=dg.DataVersion(built.digest[:16]),
        )

    return _asset


def _promoted(use_case: UseCase, week: str, tables: Tables) -> Entry:
    for entry in ledger.entries(tables.store(), use_case):
        if entry.action == "promote" and entry.as_of == week:
            return entry
    raise dg.Failure(
        f"no model of {week} was promoted; materialise {use_case.name} / champion of that week"
    )


def _golden_rows(
    use_case: UseCase, week: str, tables: Tables, files: Files, clock: Clock
) -> "pd.DataFrame":
    """Some rows the model was not trained on."""
    from mlops_assets.stages import Stage, training_set

    stage = Stage(task(use_case, SERVICE, [week], tables, files, clock))
    return training_set.load(stage, week).split(use_case.holdout)[1].head(GOLDEN_ROWS)


def _spec(use_case: UseCase, promoted: Entry, model: bytes, rows: "pd.DataFrame") -> BentoSpec:
    from mlops_assets.ml import models
    from mlops_assets.service import bundle
    from mlops_assets.service.schema import ServiceSchema

    columns = {column.name: column for column in use_case.contract}
    schema = ServiceSchema(
        use_case=use_case.name,
        description=use_case.description,
        kind=use_case.kind,
        model_version=promoted.model_version,
        model_sha256=promoted.model_sha256,
        key=tuple(columns[name] for name in use_case.key),
        features=use_case.features,
        label=use_case.label_column,
    )
    golden = bundle.golden(models.load(model), rows[use_case.feature_names], schema)
    return BentoSpec(
        name=use_case.name,
        model_version=promoted.model_version,
        service=bundle.ENTRY,
        files=bundle.files(schema, model, golden),
        model=bundle.MODEL,
        model_sha256=promoted.model_sha256,
        packages=bundle.PACKAGES,
        description=use_case.description,
    )


def _golden_request(
    use_case: UseCase, partitions: dg.PartitionsDefinition
) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        name=f"{use_case.name}__service_checks",
        specs=specs(use_case, SERVICE, CHECKS, partitions),
    )
    def _check(
        context: dg.AssetCheckExecutionContext, files: Files, images: Images
    ) -> Iterator[dg.AssetCheckResult]:
        for week in context.op_execution_context.partition_keys:
            record = files.store().read_json(record_path(use_case, week))
            expected = record["golden_scores"]
            answered = images.ask_golden(BuiltService(**record["bento"]))
            yield dg.AssetCheckResult(
                check_name=CHECKS[0].name,
                asset_key=key(use_case, SERVICE),
                passed=answered == expected,
                description=f"the model says {expected}; the service answers {answered}",
            )

    return _check
