"""The truth about each row, once it has matured."""

from __future__ import annotations

import pandas as pd

from mlops_assets.ml.contract import as_of
from mlops_assets.stages import Stage, Verdict
from mlops_assets.stages.features import available
from resources.compute.task import TaskResult
from resources.delta import PARTITION, combined, partition_hashes

MATURED_AT = "matured_at"
MIN_COVERAGE = 0.8


def run(stage: Stage) -> TaskResult:
    rows = _matured(stage, _truth(stage))
    version = stage.write("labels", rows, stage.partitions)
    hashes = partition_hashes(rows, stage.use_case.key)
    return TaskResult(
        data_version=combined(hashes),
        metadata={"table_version": version},
        partitions={key: _facts(stage, rows, key, hashes) for key in stage.partitions},
    )


def check(stage: Stage) -> list[Verdict]:
    """Whether all rows of the partitions have matured, and whether they have a label."""
    truth = _truth(stage)
    stored = stage.tables.partitions(stage.table("labels")) & set(stage.partitions)
    labels = stage.read("labels", sorted(stored)) if stored else truth.iloc[:0]
    return [_maturity(len(labels), len(truth)), _coverage(labels[stage.use_case.label])]


def _truth(stage: Stage) -> pd.DataFrame:
    """All rows of the partitions, with the label as known now and the time it is complete.

    A row that never gets a label, such as a cancelled flight, matures without one.
    """
    use_case = stage.use_case
    rows = stage.read("dataset", available(stage, stage.partitions, needed=stage.partitions))
    known_at = rows[use_case.label_column.known_at]
    matured_at = (rows[use_case.event_time] + use_case.label_delay).where(
        lambda due: ~(known_at > due), known_at
    )
    label = as_of(rows, use_case.contract, pd.Timestamp(stage.now))[use_case.label]
    identity = rows[[PARTITION, *use_case.key, use_case.event_time]]
    return identity.assign(**{MATURED_AT: matured_at, use_case.label: label.astype("float64")})


def _matured(stage: Stage, truth: pd.DataFrame) -> pd.DataFrame:
    return truth[truth[MATURED_AT] <= pd.Timestamp(stage.now)]


def _facts(
    stage: Stage, rows: pd.DataFrame, partition: str, hashes: dict[str, str]
) -> dict[str, float | str]:
    labels = rows.loc[rows[PARTITION] == partition, stage.use_case.label]
    facts: dict[str, float | str] = {
        "data_version": hashes.get(partition, "none"),
        "rows": len(labels),
        "without_label": int(labels.isna().sum()),
    }
    return facts if labels.isna().all() else facts | {"mean_label": float(labels.mean())}


def _maturity(matured: int, expected: int) -> Verdict:
    text = f"{matured} of {expected} rows have matured"
    return Verdict("maturity", matured == expected and matured > 0, text)


def _coverage(labels: pd.Series) -> Verdict:
    share = float(labels.notna().mean()) if len(labels) else 0.0
    text = f"{share:.1%} of {len(labels)} matured rows have a label; expected {MIN_COVERAGE:.0%}"
    return Verdict("coverage", share >= MIN_COVERAGE, text)
