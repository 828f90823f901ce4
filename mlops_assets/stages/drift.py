"""A week's inputs and scores against what the champion in charge was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mlops_assets import reports
from mlops_assets.ledger import Entry
from mlops_assets.ml import drift
from mlops_assets.reports import evidently
from mlops_assets.reports.drift import distribution, effects
from mlops_assets.reports.evaluation import Picture, picture_row
from mlops_assets.stages import Stage, Verdict, candidate, md_image, md_table, training_set
from mlops_assets.stages.monitoring import champion_of, days_of, predictions_of, read_result
from resources.artifacts import canonical_json, sha256
from resources.compute.task import TaskResult

RESULT, REPORT, EVIDENTLY = "result.json", "report.html", "evidently.html"
PICTURES = 5
WORST = 10


def run(stage: Stage) -> TaskResult:
    """Compare, report, and write the result last: it vouches for reports that exist.

    Raises MissingDataError where the week has no champion, features or predictions.
    The parameter `evidently` (default True) says whether Evidently's page is written, too.
    """
    champion = champion_of(stage)
    days = days_of(stage, "features", "predictions")
    current = stage.read("features", days)
    scores = predictions_of(stage, champion, days)["score"].to_numpy("float64")
    profile = candidate.load_profile(stage, champion.as_of, champion.model_sha256)
    found = drift.compare(profile, current, scores, stage.use_case.alpha)
    result = _result(stage, champion, days, found)
    pictures = _pictures(profile, current, scores, found)
    files = _write(stage, _pages(stage, champion, current, result, pictures))
    stage.artifacts.write_json(stage.path("drift", stage.partition, RESULT), result)
    return TaskResult(
        data_version=sha256(canonical_json(result))[:16],
        metadata={
            "failed": found.failed,
            "rows": found.rows,
            "days": len(days),
            "champion": champion.model_version,
            "compared": len(found.findings),
            "drifted": len(found.drifted),
            "worst": md_table(_table(found.findings[:WORST])),
            "effects": md_image(picture_row(pictures[:1]), "Size of each change"),
            **{
                path.rsplit("/", 1)[-1].removesuffix(".html"): {
                    "type": "path",
                    "raw_value": stage.artifacts.uri(path),
                }
                for path in files
            },
        },
        outputs={
            "failed": found.failed,
            "summary": found.summary,
            "files": [*files, stage.path("drift", stage.partition, RESULT)],
        },
    )


def check(stage: Stage) -> list[Verdict]:
    """Whether inputs and scores still are what the champion has learnt from."""
    result = read_result(stage, "drift")
    failures = [finding for finding in result["findings"] if finding["failed"]]
    metadata = {"champion": result["champion"]["model_version"], "failures": len(failures)}
    if failures:
        metadata["found"] = md_table(_table([drift.Finding(**finding) for finding in failures]))
    return [Verdict("drift", not result["failed"], result["summary"], metadata)]


def _result(
    stage: Stage, champion: Entry, days: Sequence[str], found: drift.Drift
) -> dict[str, Any]:
    return {
        "use_case": stage.use_case.name,
        "week": stage.partition,
        "days": list(days),
        "champion": {
            "model_version": champion.model_version,
            "model_sha256": champion.model_sha256,
            "as_of": champion.as_of,
        },
        "summary": found.summary,
        **found.to_json(),
    }


def _pictures(
    profile: drift.Profile, current: pd.DataFrame, scores: Any, found: drift.Drift
) -> list[Picture]:
    """The sizes of all changes, and the columns that changed most."""
    frame = current.assign(**({profile.score.name: scores} if profile.score else {}))
    columns = {c.name: c for c in (*profile.columns, *([profile.score] if profile.score else []))}
    pictures = [effects([vars(finding) for finding in found.findings])]
    for finding in found.findings:
        if finding.name in columns and finding.name in frame and len(pictures) <= PICTURES:
            bars = drift.distribution(columns[finding.name], frame[finding.name])
            if bars:
                pictures.append(distribution(finding.name, finding.message, bars))
    return pictures


def _pages(
    stage: Stage,
    champion: Entry,
    current: pd.DataFrame,
    result: Mapping[str, Any],
    pictures: Sequence[Picture],
) -> dict[str, str]:
    pages = {REPORT: reports.render("drift.html.jinja", pictures=pictures, **result)}
    if stage.task.params.get("evidently", True):
        reference = training_set.load(stage, champion.as_of).rows
        use_case = stage.use_case
        pages[EVIDENTLY] = evidently.render(reference, current, use_case.features, use_case.seed)
    return pages


def _write(stage: Stage, pages: Mapping[str, str]) -> list[str]:
    """Write the pages; return their paths."""
    paths = {stage.path("drift", stage.partition, name): page for name, page in pages.items()}
    for path, page in paths.items():
        stage.artifacts.write(path, page.encode())
    return list(paths)


def _table(findings: Sequence[drift.Finding]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "what": finding.name,
                "verdict": "drift" if finding.failed else "differs" if finding.drifted else "",
                "found": finding.message,
                "size": finding.effect,
                "p": finding.p_value,
                "importance": finding.importance,
            }
            for finding in findings
        ]
    )
