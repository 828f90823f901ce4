"""Candidate and champion on the same rows, which neither was trained on, and the gate's verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from mlops_assets import ledger, reports
from mlops_assets.ml import evaluation, models
from mlops_assets.ml.bootstrap import bootstrap
from mlops_assets.ml.gates import RuleResult, judge
from mlops_assets.ml.metrics import METRICS
from mlops_assets.reports.evaluation import Picture, picture_row, pictures_of
from mlops_assets.stages import Stage, Verdict, candidate, md_image, md_table, training_set
from resources.compute.task import TaskResult

GATE, RESULT, REPORT = "gate.json", "result.json", "report.html"
BLOCK = "h"
"""Rows whose event lies in the same hour share weather, traffic, outages: what they prove about a
model, they prove together."""
DIGITS = 10
"""Of the numbers in a gate: the same gate has the same hash whatever the order of a sum."""


@dataclass(frozen=True)
class _HeldOut:
    """The rows that decide, with the scores of the models that meet on them."""

    stage: Stage
    card: Mapping[str, Any]
    champion: ledger.Entry | None
    rows: pd.DataFrame
    scores: Mapping[str, np.ndarray]
    base: float
    """The mean of the label in training: what the dummy says."""

    @property
    def truth(self) -> np.ndarray:
        return np.asarray(self.rows[self.stage.use_case.label], dtype="float64")

    @property
    def models(self) -> dict[str, np.ndarray]:
        """Scores of the models that learnt something."""
        return {name: score for name, score in self.scores.items() if name != "dummy"}

    @property
    def opponent(self) -> str:
        return "champion" if self.champion else "dummy"

    @property
    def blocks(self) -> np.ndarray:
        times = self.rows[self.stage.use_case.event_time]
        return np.asarray(times.dt.floor(BLOCK).astype("int64"))

    @cached_property
    def groups(self) -> dict[str, pd.Series]:
        names = self.stage.use_case.slices
        return {name: evaluation.group_labels(self.rows[name]) for name in names}


def run(stage: Stage) -> TaskResult:
    """Compare, judge and report; the gate is written last, so it vouches for a report that exists.

    Raises TamperedError where a model is not the one that was recorded, ValueError where the
    held-out rows cannot decide anything.
    """
    held_out = _held_out(stage)
    gate = _gate(held_out)
    result = _result(held_out)
    pictures = pictures_of(result, stage.use_case.objective, held_out.opponent)
    paths = [stage.path("evaluation", stage.partition, file) for file in (RESULT, REPORT, GATE)]
    stage.artifacts.write_json(paths[0], result)
    stage.artifacts.write(paths[1], _report(held_out, gate, result, pictures).encode())
    gate_hash = stage.artifacts.write_json(paths[2], gate)
    return TaskResult(
        data_version=gate_hash[:16],
        metadata={
            "passed": gate["passed"],
            "held_out_rows": result["rows"],
            **_numbers(result),
            "report": {"type": "path", "raw_value": stage.artifacts.uri(paths[1])},
            "metrics": md_table(_metrics_table(result)),
            "rules": md_table(pd.DataFrame(gate["rules"])[["rule", "passed", "message"]]),
            "slices": md_table(_slices_table(held_out, result)),
            **{f"{n}_plot": md_image(picture_row(row), n) for n, row in pictures.items()},
        },
        outputs={
            "passed": gate["passed"],
            "metrics": result["metrics"],
            "gate_sha256": gate_hash,
            "files": paths,
        },
    )


def check(stage: Stage) -> list[Verdict]:
    """One verdict a rule of the gate, as stored; all fail once the candidate is another model."""
    gate = read_gate(stage, stage.partition)
    judged, now = gate["candidate_sha256"], candidate.card(stage, stage.partition)["sha256"]
    if judged != now:
        reason = f"the gate judged model {judged[:12]}…, the candidate is now {now[:12]}…"
        return [
            Verdict(rule.name, False, f"{reason}; evaluate again") for rule in stage.use_case.gate
        ]
    results = {result["rule"]: result for result in gate["rules"]}
    return [_verdict(rule.name, results.get(rule.name)) for rule in stage.use_case.gate]


def read_gate(stage: Stage, week: str) -> dict[str, Any]:
    """The stored verdict of a week."""
    found: dict[str, Any] = stage.read_json("evaluation", week, GATE)
    return found


def _held_out(stage: Stage) -> _HeldOut:
    use_case, week = stage.use_case, stage.partition
    card, pinned = candidate.card(stage, week), training_set.load(stage, week)
    if card["training_set"] != pinned.hash:
        raise ValueError(
            f"{use_case.name}: the candidate of {week} was trained on training set"
            f" {card['training_set']}, which is now {pinned.hash}; materialise the candidate again"
        )
    train, rows = pinned.split(use_case.holdout)
    if rows.empty:
        raise ValueError(
            f"{use_case.name}: no rows with a label in the {use_case.holdout.days} days before"
            f" {week}; there is nothing to evaluate on"
        )
    champion = ledger.champion_before(ledger.entries(stage.tables, use_case), pinned.as_of)
    base = float(train[use_case.label].mean())
    scores = {"candidate": _scores(stage, week, card["sha256"], rows)}
    if champion is not None:
        scores["champion"] = _scores(stage, champion.as_of, champion.model_sha256, rows)
    scores["dummy"] = np.full(len(rows), base)
    return _HeldOut(stage, card, champion, rows, scores, base)


def _scores(stage: Stage, week: str, model_sha256: str, rows: pd.DataFrame) -> np.ndarray:
    features = candidate.card(stage, week, model_sha256)["features"]
    missing = [name for name in features if name not in rows.columns]
    if missing:
        raise ValueError(
            f"{stage.use_case.name}: the model of {week} needs {', '.join(missing)}, which the"
            " features no longer have; keep them until another model is champion"
        )
    return models.score(candidate.load_model(stage, week, model_sha256), rows[features])


def _gate(held_out: _HeldOut) -> dict[str, Any]:
    use_case, champion = held_out.stage.use_case, held_out.champion
    results = judge(
        use_case.gate,
        held_out.truth,
        held_out.scores,
        held_out.groups,
        objective=use_case.objective,
        blocks=held_out.blocks,
        seed=use_case.seed,
    )
    return {
        "use_case": use_case.name,
        "as_of": held_out.stage.partition,
        "candidate_sha256": held_out.card["sha256"],
        "champion": None
        if champion is None
        else {
            "model_version": champion.model_version,
            "model_sha256": champion.model_sha256,
            "as_of": champion.as_of,
        },
        "training_set": held_out.card["training_set"],
        "held_out_rows": len(held_out.rows),
        "rules": [_rounded(result) for result in results],
        "passed": all(result.passed for result in results),
    }


def _rounded(result: RuleResult) -> dict[str, Any]:
    numbers = {"value": result.value, "bound": result.bound}
    return asdict(result) | {
        name: None if value is None else float(f"{value:.{DIGITS}g}")
        for name, value in numbers.items()
    }


def _result(held_out: _HeldOut) -> dict[str, Any]:
    use_case, times = (
        held_out.stage.use_case,
        held_out.rows[held_out.stage.use_case.prediction_time],
    )
    measured = bootstrap(
        [METRICS[name] for name in use_case.metrics],
        held_out.truth,
        held_out.scores,
        blocks=held_out.blocks,
        seed=use_case.seed,
    )
    return {
        "rows": len(held_out.rows),
        "first": times.min().strftime("%Y-%m-%d %H:%M"),
        "last": times.max().strftime("%Y-%m-%d %H:%M"),
        "metrics": {name: evaluation.summary(found) for name, found in measured.items()},
        "slices": {name: _by_group(held_out, labels) for name, labels in held_out.groups.items()},
        "importance": held_out.card["importance"],
        **(_classes if use_case.kind == "classification" else _errors)(held_out),
    }


def _by_group(held_out: _HeldOut, labels: pd.Series) -> list[dict[str, Any]]:
    use_case = held_out.stage.use_case
    return evaluation.by_group(
        use_case.metrics,
        held_out.truth,
        held_out.scores,
        labels,
        blocks=held_out.blocks,
        seed=use_case.seed,
    )


def _classes(held_out: _HeldOut) -> dict[str, Any]:
    """What is asked of a classifier.

    Rows are called positive from the share of positives in training on: for calibrated scores that
    maximises balanced accuracy, and it needs no fitting to rows the model has seen.
    """
    truth, scores = held_out.truth, held_out.models
    curves = {name: evaluation.calibration(truth, score) for name, score in scores.items()}
    return {
        "calibration": curves,
        "calibration_error": {n: evaluation.calibration_error(c) for n, c in curves.items()},
        "roc": {name: evaluation.roc(truth, score) for name, score in scores.items()},
        "confusion": {
            name: evaluation.confusion(truth, score, held_out.base)
            for name, score in scores.items()
        },
    }


def _errors(held_out: _HeldOut) -> dict[str, Any]:
    """What is asked of a regression."""
    truth, scores = held_out.truth, held_out.models
    return {
        "residuals": {name: evaluation.residuals(truth, score) for name, score in scores.items()},
        "error_quantiles": {
            name: evaluation.error_quantiles(truth, score) for name, score in scores.items()
        },
    }


def _report(
    held_out: _HeldOut,
    gate: Mapping[str, Any],
    result: Mapping[str, Any],
    pictures: Mapping[str, Sequence[Picture]],
) -> str:
    return reports.render(
        "evaluation.html.jinja",
        use_case=held_out.stage.use_case.name,
        week=held_out.stage.partition,
        objective=held_out.stage.use_case.objective,
        family=held_out.card["family"],
        gate=gate,
        result=result,
        pictures=[picture for row in pictures.values() for picture in row],
    )


def _numbers(result: Mapping[str, Any]) -> dict[str, float]:
    """Plain numbers, which Dagster plots over the weeks."""
    return {
        name if model == "candidate" else f"{name}_{model}": numbers[model]
        for name, numbers in result["metrics"].items()
        for model in ("candidate", "champion", "dummy", "gain_over_champion", "gain_over_dummy")
        if model in numbers
    }


def _metrics_table(result: Mapping[str, Any]) -> pd.DataFrame:
    columns = ("candidate", "champion", "dummy", "gain_over_champion", "gain_over_dummy")
    return pd.DataFrame(
        [
            {"metric": name}
            | {_words(column): _range(numbers, column) for column in columns if column in numbers}
            for name, numbers in result["metrics"].items()
        ]
    )


def _slices_table(held_out: _HeldOut, result: Mapping[str, Any]) -> pd.DataFrame:
    columns = [*held_out.models, f"gain_over_{held_out.opponent}"]
    objective = held_out.stage.use_case.objective
    return pd.DataFrame(
        [
            {"slice": name, "group": group["group"], "rows": group["rows"]}
            | {_words(column): _range(group["metrics"][objective], column) for column in columns}
            for name, groups in result["slices"].items()
            for group in groups
        ]
    )


def _words(column: str) -> str:
    return column.replace("_", " ")


def _range(numbers: Mapping[str, float | None] | None, name: str) -> str:
    """A number and its interval, for people."""
    if numbers is None:
        return "undefined"
    value, low, high = (reports.number(numbers[f"{name}{end}"]) for end in ("", "_low", "_high"))
    return f"{value} ({low} to {high})"


def _verdict(name: str, found: Mapping[str, Any] | None) -> Verdict:
    if found is None:
        return Verdict(
            name, False, "the gate did not judge this rule, which is new; evaluate again"
        )
    numbers = ("value", "bound", "threshold")
    return Verdict(
        name,
        found["passed"],
        found["message"],
        {key: found[key] for key in numbers if found[key] is not None},
    )
