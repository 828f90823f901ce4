"""The metrics of a week whose labels have matured, against what its champion promised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from mlops_assets import reports
from mlops_assets.ledger import Entry
from mlops_assets.ml import performance
from mlops_assets.ml.bootstrap import bootstrap
from mlops_assets.ml.metrics import METRICS
from mlops_assets.ml.performance import Comparison
from mlops_assets.reports.evaluation import Picture, picture_row
from mlops_assets.reports.performance import shortfalls
from mlops_assets.stages import Stage, Verdict, candidate, md_image, md_table
from mlops_assets.stages.labels import MATURED_AT
from mlops_assets.stages.monitoring import champion_of, days_of, predictions_of, read_result
from resources.artifacts import canonical_json, sha256
from resources.compute.task import TaskResult
from resources.delta import PARTITION, MissingDataError

RESULT, REPORT = "result.json", "report.html"
MIN_MATURED = 0.9
"""Nothing is judged while less than this share of the predictions has a matured label."""


def run(stage: Stage) -> TaskResult:
    """Measure, compare, report, and write the result last.

    Raises MissingDataError where the week has no champion or predictions, or where its labels are
    not due yet. Where they are overdue the check fails and says so, and no metric is judged.
    """
    _require_due(stage)
    champion = champion_of(stage)
    scored = predictions_of(stage, champion, days_of(stage, "predictions"))
    matured = _matured(stage, scored)
    share = len(matured) / len(scored)
    rows = matured[matured[stage.use_case.label].notna()].reset_index(drop=True)
    late = share < MIN_MATURED
    found = [] if late else _compare(stage, champion, rows)
    result = {
        "use_case": stage.use_case.name,
        "week": stage.partition,
        "champion": {
            "model_version": champion.model_version,
            "model_sha256": champion.model_sha256,
            "as_of": champion.as_of,
        },
        "predictions": len(scored),
        "matured": share,
        "rows": len(rows),
        "metrics": {} if late else _metrics(stage, rows),
        "comparisons": [asdict(comparison) for comparison in found],
        "labels_late": late,
        "failed": late or any(comparison.failed for comparison in found),
        "summary": _late(len(matured), len(scored)) if late else _summary(found),
    }
    return _written(stage, result)


def check(stage: Stage) -> list[Verdict]:
    """Whether no metric is worse than promised beyond noise."""
    result = read_result(stage, "performance")
    metadata: dict[str, Any] = {
        "champion": result["champion"]["model_version"],
        "rows": result["rows"],
        "matured": result["matured"],
    }
    if result["comparisons"]:
        metadata["comparisons"] = md_table(_table(result["comparisons"]))
    return [Verdict("performance", not result["failed"], result["summary"], metadata)]


def _require_due(stage: Stage) -> None:
    _, end = stage.calendar.week(stage.partition)
    due = end + stage.use_case.label_delay
    if stage.now < due:
        raise MissingDataError(
            f"{stage.use_case.name}: the labels of week {stage.partition} are not due before"
            f" {due:%Y-%m-%d %H:%M %Z}, and it is {stage.now:%Y-%m-%d %H:%M %Z}; materialise"
            f" {stage.use_case.name} / performance of that week then"
        )


def _matured(stage: Stage, scored: pd.DataFrame) -> pd.DataFrame:
    """The predictions whose truth is known now, with it; missing where they never get one."""
    use_case, days = stage.use_case, list(scored[PARTITION].unique())
    stored = sorted(set(days) & stage.tables.partitions(stage.table("labels")))
    if not stored:
        return scored.iloc[:0].assign(**{use_case.label: pd.Series(dtype="float64")})
    labels = stage.read("labels", stored, [*use_case.key, MATURED_AT, use_case.label])
    labels = labels[labels[MATURED_AT] <= pd.Timestamp(stage.now)].drop(columns=MATURED_AT)
    return scored.merge(labels, on=list(use_case.key), validate="one_to_one")


def _compare(stage: Stage, champion: Entry, rows: pd.DataFrame) -> list[Comparison]:
    use_case = stage.use_case
    promise = candidate.card(stage, champion.as_of, champion.model_sha256)["promise"]
    truth, score = _values(stage, rows)
    lived = performance.daily(use_case.metrics, truth, score, candidate.local_times(stage, rows))
    return performance.compare(use_case.metrics, promise, lived, use_case.alpha)


def _metrics(stage: Stage, rows: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    """Each metric of the week with its interval, by resampling days."""
    truth, score = _values(stage, rows)
    days = candidate.local_times(stage, rows).dt.normalize().to_numpy()
    found = bootstrap(
        [METRICS[name] for name in stage.use_case.metrics],
        truth,
        {"champion": score},
        blocks=days,
        seed=stage.use_case.seed,
    )
    intervals = {name: measured.interval("champion") for name, measured in found.items()}
    return {
        name: {end: value if np.isfinite(value) else None for end, value in asdict(i).items()}
        for name, i in intervals.items()
    }


def _values(stage: Stage, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return rows[stage.use_case.label].to_numpy("float64"), rows["score"].to_numpy("float64")


def _late(matured: int, expected: int) -> str:
    return (
        f"labels are late: {matured} of {expected} predictions have a matured label, though all are"
        f" due and {MIN_MATURED:.0%} are needed; no metric was judged"
    )


def _summary(found: Sequence[Comparison]) -> str:
    failures = [comparison.message for comparison in found if comparison.failed]
    return "; ".join(failures) or "no metric is worse than promised beyond noise"


def _written(stage: Stage, result: Mapping[str, Any]) -> TaskResult:
    pictures = [shortfalls(result["comparisons"])] if result["comparisons"] else []
    report = stage.path("performance", stage.partition, REPORT)
    page = reports.render("performance.html.jinja", pictures=pictures, **result)
    stage.artifacts.write(report, page.encode())
    stage.artifacts.write_json(stage.path("performance", stage.partition, RESULT), result)
    return TaskResult(
        data_version=sha256(canonical_json(result))[:16],
        metadata={
            "failed": result["failed"],
            "rows": result["rows"],
            "matured": result["matured"],
            "champion": result["champion"]["model_version"],
            **{name: metric["value"] for name, metric in result["metrics"].items()},
            "report": {"type": "path", "raw_value": stage.artifacts.uri(report)},
            **_shown(result, pictures),
        },
        outputs={
            "failed": result["failed"],
            "labels_late": result["labels_late"],
            "summary": result["summary"],
            "files": [report, stage.path("performance", stage.partition, RESULT)],
        },
    )


def _shown(result: Mapping[str, Any], pictures: Sequence[Picture]) -> dict[str, Any]:
    if not pictures:
        return {}
    return {
        "comparisons": md_table(_table(result["comparisons"])),
        "shortfalls": md_image(picture_row(pictures), "Shortfall of each measure"),
    }


def _table(comparisons: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    names = ["measure", "promised", "current", "shortfall", "limit", "p_value", "failed"]
    return pd.DataFrame(comparisons)[names]
