from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from mlops_assets import use_cases
from mlops_assets.use_cases import Column, Retraining, Rule
from mlops_assets_tests.toy import TOY

LABEL = Column(name="late", dtype="int", description="")
LATER = Column(name="delivered_at", dtype="timestamp", description="")

WRONG = {
    "label as feature": ({"features": (*TOY.features, LABEL)}, "features: 'late' is the label"),
    "outcome as feature": (
        {"features": (*TOY.features, LATER)},
        "features: 'delivered_at' is known only after the prediction",
    ),
    "negative delay": ({"label_delay": timedelta(days=-1)}, "label_delay: .* is negative"),
    "negative history": ({"history": timedelta(days=-1)}, "history: .* is negative"),
    "unknown metric": ({"metrics": ("log_loss", "accurracy")}, "metrics: 'accurracy' is no metric"),
    "metric of another kind": ({"objective": "rmse"}, "objective: 'rmse' is no metric of class"),
    "objective not measured": ({"objective": "average_precision"}, "objective: .* of `metrics`"),
    "upper case name": ({"name": "Parcels"}, "name: write it in lower case"),
    "no description": ({"description": " "}, "description: say what is predicted"),
    "no owner": ({"owners": ()}, "owners: name at least one"),
    "odd owner": ({"owners": ("me",)}, "owners: 'me' is neither"),
    "unknown key": ({"key": ("parcel", "box")}, "key: the contract has no column 'box'"),
    "no key": ({"key": ()}, "key: name the columns"),
    "unknown time": ({"event_time": "when"}, "event_time: the contract has no column 'when'"),
    "number as time": ({"event_time": "weight"}, "event_time: 'weight' must be a timestamp"),
    "time that may be missing": ({"event_time": "delivered_at"}, "event_time: .* never missing"),
    "label always known": ({"label": "weight"}, "label: 'weight' needs `known_at`"),
    "unknown slice": ({"slices": ("moon",)}, "slices: 'moon' is no feature"),
    "slice of a rule": (
        {"gate": (Rule(metric="brier", against="dummy", slice="weight"),)},
        "gate: .* names 'weight', which `slices` does not list",
    ),
    "rule of another metric": (
        {"gate": (Rule(metric="average_precision", against="dummy"),)},
        "gate: .* judges a metric that `metrics` does not list",
    ),
    "no gate": ({"gate": ()}, "gate: name at least one rule"),
    "no families": ({"families": ()}, "families: name at least one"),
    "no trials": ({"trials": 0}, "trials: at least 1"),
    "long holdout": ({"holdout": timedelta(weeks=4)}, "holdout: must be shorter"),
    "odd window": ({"train_window": timedelta(days=10)}, "train_window: .* whole number of weeks"),
    "end before start": ({"end": date(2023, 1, 1)}, "end: .* is not after start"),
    "all may be bad": ({"tolerance": 1.0}, "tolerance: 1.0 is not between 0 and 1"),
    "negative cooldown": (
        {"retraining": Retraining(cooldown=timedelta(days=-1))},
        "retraining.cooldown: .* is negative",
    ),
    "old at once": (
        {"retraining": Retraining(max_age=timedelta(days=1))},
        "retraining.max_age: must not be shorter",
    ),
    "no budget": ({"retraining": Retraining(daily_budget=0)}, "retraining.daily_budget: at least"),
    "no attempt": ({"retraining": Retraining(attempts=0)}, "retraining.attempts: at least 1"),
    "repeated feature": ({"features": TOY.features * 2}, "features: 'depot' appears twice"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_field_is_refused_by_name(name):
    changes, message = WRONG[name]
    with pytest.raises(ValueError, match=f"use case '.*': .*{message}"):
        replace(TOY, **changes)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ValueError, match=r"owners: .*trials: "):
        replace(TOY, owners=(), trials=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metric": "auc"}, "metric: 'auc' is none of"),
        ({"against": "rival"}, "against: 'rival' is none of"),
        ({"confidence": 0.2}, "confidence: 0.2 is not in"),
    ],
)
def test_a_wrong_rule_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Rule(**{"metric": "log_loss", "against": "dummy", **fields})


def test_use_cases_are_found_by_name():
    assert use_cases.get("parcels") is TOY
    with pytest.raises(LookupError, match="no use case 'nothing'; there are"):
        use_cases.get("nothing")


def test_further_modules_are_discovered(monkeypatch, tmp_path):
    (tmp_path / "more_cases.py").write_text(
        "from dataclasses import replace\n"
        "from mlops_assets_tests.toy import TOY\n"
        "USE_CASE = replace(TOY, name='from_elsewhere')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MLOPS_USE_CASES", "more_cases")
    assert "from_elsewhere" in {use_case.name for use_case in use_cases.discover()}
