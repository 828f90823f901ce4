"""The tuned, trained model of a week, with all that is needed to judge and to watch it."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from mlops_assets.ml import drift, models, performance
from mlops_assets.ml.evaluation import permutation_importance
from mlops_assets.ml.metrics import METRICS
from mlops_assets.ml.splits import weekly_folds
from mlops_assets.ml.training import Fold, Search, fit, search
from mlops_assets.reports import candidate as reports
from mlops_assets.stages import Stage, Verdict, md_image, md_table, training_set
from mlops_assets.stages.labels import MATURED_AT
from resources.artifacts import canonical_json, sha256
from resources.compute.task import TaskResult

MODEL, CARD, PROFILE, PLOT = "model.skops", "model.json", "profile.json", "trials.png"
FOLDS = 3
LIBRARIES = ("numpy", "pandas", "scikit-learn", "scipy", "skops")


def run(stage: Stage) -> TaskResult:
    """Tune, train and describe the model of a week.

    Model, profile and card lie in a directory named after the model's hash and never change; the
    card of the week says which model is the latest, and is written last.
    """
    use_case, week = stage.use_case, stage.partition
    pinned = training_set.load(stage, week)
    train, held_out = pinned.split(use_case.holdout)
    folds = list(weekly_folds(train[use_case.prediction_time], train[MATURED_AT], FOLDS))
    found = _search(stage, train, folds)
    model = fit(use_case.families, found.best, *_inputs(stage, train), use_case.seed)
    scores = models.score(model, held_out[use_case.feature_names])
    importance = _importance(stage, model, held_out)
    unseen = _unseen(stage, train, held_out, found, scores)
    profile = drift.profile(
        train,
        use_case.features,
        times=local_times(stage, train),
        importance=importance,
        scores=models.score(model, train[use_case.feature_names]),
        unseen=unseen,
    )
    data, reference = models.dump(model), canonical_json(profile.to_json())
    card = {
        "use_case": use_case.name,
        "as_of": week,
        "training_set": pinned.hash,
        "family": found.best.family,
        "params": dict(found.best.params),
        "seed": use_case.seed,
        "features": use_case.feature_names,
        "rows": len(train),
        "held_out": _metrics(stage, train, held_out, scores),
        "validation": _weekly(stage, train, folds, found),
        "promise": _promise(stage, train, held_out, found, unseen),
        "importance": importance,
        "versions": _versions(),
        "sha256": sha256(data),
        "profile_sha256": sha256(reference),
    }
    _write(stage, card, {MODEL: data, PROFILE: reference, CARD: canonical_json(card)})
    return _result(stage, card, found)


def check(stage: Stage) -> list[Verdict]:
    """Whether the model beats, on the held-out rows, a dummy that always says the mean."""
    held_out = card(stage, stage.partition)["held_out"]
    name = stage.use_case.objective
    mine, dummy = held_out["model"][name], held_out["dummy"][name]
    text = f"{name} {mine:.4f} on {held_out['rows']} held-out rows; the dummy's is {dummy:.4f}"
    return [Verdict("sanity", METRICS[name].gain(mine, dummy) > 0, text)]


def card(stage: Stage, week: str, model_sha256: str | None = None) -> dict[str, Any]:
    """What is recorded about a model of a week; None: about the latest."""
    file = CARD if model_sha256 is None else _file(model_sha256, CARD)
    found: dict[str, Any] = stage.read_json("candidate", week, file)
    return found


def load_model(stage: Stage, week: str, model_sha256: str) -> Any:
    """A model of a week; raises TamperedError where its file has another content."""
    path = path_of(stage, week, model_sha256, MODEL)
    return models.load(stage.artifacts.read(path, model_sha256))


def load_profile(stage: Stage, week: str, model_sha256: str) -> drift.Profile:
    """What the rows looked like that a model was trained on."""
    expected = card(stage, week, model_sha256)["profile_sha256"]
    path = path_of(stage, week, model_sha256, PROFILE)
    return drift.Profile.from_json(stage.artifacts.read_json(path, expected))


def path_of(stage: Stage, week: str, model_sha256: str, file: str) -> str:
    """Where a file of a model lies."""
    return stage.path("candidate", week, _file(model_sha256, file))


def _file(model_sha256: str, file: str) -> str:
    """A file of a model, within its week: models never overwrite each other."""
    return f"{model_sha256[:16]}/{file}"


def _write(stage: Stage, card: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        stage.artifacts.write(path_of(stage, stage.partition, card["sha256"], name), data)
    stage.artifacts.write_json(stage.path("candidate", stage.partition, CARD), card)


def _inputs(stage: Stage, rows: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    return rows[stage.use_case.feature_names], rows[stage.use_case.label].to_numpy("float64")


def _search(stage: Stage, train: pd.DataFrame, folds: list[Fold]) -> Search:
    use_case = stage.use_case
    return search(
        use_case.families,
        *_inputs(stage, train),
        folds,
        objective=use_case.objective,
        trials=use_case.trials,
        seed=use_case.seed,
    )


def _importance(stage: Stage, model: Any, held_out: pd.DataFrame) -> dict[str, float]:
    use_case = stage.use_case
    return permutation_importance(
        model, *_inputs(stage, held_out), use_case.objective, seed=use_case.seed
    )


def _unseen(
    stage: Stage, train: pd.DataFrame, held_out: pd.DataFrame, found: Search, scores: np.ndarray
) -> drift.Unseen:
    """Scores of the validation weeks and of the held-out rows."""
    validated = np.isfinite(found.validation_scores)
    times = [local_times(stage, train)[validated], local_times(stage, held_out)]
    return drift.Unseen(
        np.concatenate([found.validation_scores[validated], scores]),
        pd.concat(times, ignore_index=True),
    )


def _promise(
    stage: Stage, train: pd.DataFrame, held_out: pd.DataFrame, found: Search, unseen: drift.Unseen
) -> dict[str, list[float]]:
    """What each of the days that the model had not seen was like, for weeks to come."""
    validated = np.isfinite(found.validation_scores)
    label = _inputs(stage, train)[1][validated]
    truth = np.concatenate([label, _inputs(stage, held_out)[1]])
    return performance.daily(stage.use_case.metrics, truth, unseen.scores, unseen.times)


def local_times(stage: Stage, rows: pd.DataFrame) -> pd.Series:
    """When each row's event happens on the clocks of the use case's time zone."""
    times = rows[stage.use_case.event_time]
    return times.dt.tz_convert(stage.use_case.timezone).dt.tz_localize(None)


def _metrics(
    stage: Stage, train: pd.DataFrame, held_out: pd.DataFrame, scores: np.ndarray
) -> dict[str, Any]:
    truth = _inputs(stage, held_out)[1]
    dummy = np.full(len(truth), train[stage.use_case.label].mean())
    names = stage.use_case.metrics
    return {
        "rows": len(truth),
        "model": {name: METRICS[name](truth, scores) for name in names},
        "dummy": {name: METRICS[name](truth, dummy) for name in names},
    }


def _weekly(
    stage: Stage, train: pd.DataFrame, folds: list[Fold], found: Search
) -> list[dict[str, float]]:
    """The metrics of each validation week: how much they vary from week to week."""
    label = _inputs(stage, train)[1]
    return [
        {
            name: METRICS[name](label[rows], found.validation_scores[rows])
            for name in stage.use_case.metrics
        }
        for _, rows in folds
    ]


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def _result(stage: Stage, card: Mapping[str, Any], found: Search) -> TaskResult:
    trials = [
        {"family": trial.family, "params": dict(trial.params), "value": trial.value}
        for trial in found.trials
    ]
    picture = reports.trials(trials, stage.use_case.objective)
    plot = path_of(stage, stage.partition, card["sha256"], PLOT)
    stage.artifacts.write(plot, picture)
    return TaskResult(
        data_version=card["sha256"][:16],
        metadata={
            "rows": card["rows"],
            "family": card["family"],
            "model_sha256": card["sha256"],
            **card["held_out"]["model"],
            "trials": md_table(_table(stage, trials)),
            "trials_plot": md_image(picture, "Trials"),
        },
        outputs={
            "card": dict(card),
            "trials": trials,
            "files": [plot, path_of(stage, stage.partition, card["sha256"], CARD)],
            "model_path": path_of(stage, stage.partition, card["sha256"], MODEL),
            "table_versions": training_set.manifest(stage, stage.partition)["versions"],
        },
    )


def _table(stage: Stage, trials: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The trials, the best first, with a column for each hyper-parameter."""
    objective = stage.use_case.objective
    rows = [
        {
            "family": trial["family"],
            objective: trial["value"],
            **{name: f"{value:.4g}" for name, value in trial["params"].items()},
        }
        for trial in trials
    ]
    ascending = not METRICS[objective].higher_is_better
    return pd.DataFrame(rows).sort_values(objective, ascending=ascending).fillna("")
