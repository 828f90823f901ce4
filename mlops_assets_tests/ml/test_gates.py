from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlops_assets.ml.gates import Rule, judge

ROWS = 4_000
RANDOM = np.random.default_rng(5)
LOGIT = RANDOM.normal(-1, 1.2, ROWS)
LATE = (RANDOM.random(ROWS) < 1 / (1 + np.exp(-LOGIT))).astype("float64")
MINUTES = 150 + 30 * LOGIT
CARRIER = pd.Series(RANDOM.choice(list("ABCDEFGH"), ROWS))
NOISE = RANDOM.normal(size=ROWS)


def late(noise: float, shift: float = 0.0) -> np.ndarray:
    """Scores of a classifier whose logit is off by some noise."""
    return 1 / (1 + np.exp(-(LOGIT + noise * NOISE + shift)))


def minutes(noise: float) -> np.ndarray:
    return MINUTES + noise * NOISE


def worse_for(carrier: str) -> np.ndarray:
    """A model as good as the champion, but for one carrier."""
    return np.where(carrier == CARRIER, late(0.5, shift=1.2), late(0.5))


DUMMY = np.full(ROWS, LATE.mean())
MEAN = np.full(ROWS, MINUTES.mean())


def vs(opponent: str, metric: str, threshold: float = 0.0, by: str | None = None) -> Rule:
    return Rule(metric=metric, against=opponent, threshold=threshold, slice=by)


def classify(rule, candidate, champion=None, **options):
    (found,) = judge(
        [rule],
        LATE,
        {"candidate": candidate, "champion": champion, "dummy": DUMMY},
        {"carrier": CARRIER},
        objective="log_loss",
        **{"resamples": 300, **options},
    )
    return found


def regress(rule, candidate, champion=None):
    (found,) = judge(
        [rule],
        MINUTES,
        {"candidate": candidate, "champion": champion, "dummy": MEAN},
        {"carrier": CARRIER},
        objective="rmse",
        resamples=300,
    )
    return found


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (vs("champion", "log_loss"), late(0.1), late(0.9)),
        (vs("champion", "roc_auc"), late(0.1), late(0.9)),
        (vs("champion", "brier"), late(0.1), late(0.9)),
        (vs("champion", "average_precision"), late(0.1), late(0.9)),
        (vs("champion", "log_loss", -0.02), late(0.5), late(0.9)),
        (vs("champion", "roc_auc", -0.02), late(0.5), late(0.9)),
        (vs("champion", "log_loss", -0.03, by="carrier"), late(0.5), worse_for("C")),
        (vs("champion", "brier", -0.01, by="carrier"), late(0.5), worse_for("C")),
        (vs("dummy", "log_loss"), late(0.5), DUMMY),
        (vs("dummy", "log_loss", by="carrier"), late(0.5), worse_for("C")[::-1]),
        (vs("absolute", "roc_auc", 0.7), late(0.5), late(3.0)),
        (vs("absolute", "roc_auc", 0.65, by="carrier"), late(0.5), late(3.0)),
        (vs("absolute", "log_loss", 0.6), late(0.5), late(3.0)),
        (vs("absolute", "brier", 0.2, by="carrier"), late(0.5), worse_for("C")),
    ],
    ids=lambda value: value.name if isinstance(value, Rule) else "",
)
def test_each_rule_passes_a_good_classifier_and_refuses_a_bad_one(rule, good, bad):
    champion = late(0.5)
    passed, refused = classify(rule, good, champion), classify(rule, bad, champion)
    assert passed.passed, passed.message
    assert not refused.passed, refused.message
    assert not passed.skipped
    assert rule.metric in passed.message
    assert (passed.group is None) == (rule.slice is None)


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (vs("champion", "rmse"), minutes(5), minutes(15)),
        (vs("champion", "mae", -0.5), minutes(10), minutes(15)),
        (vs("champion", "r2", -0.01, by="carrier"), minutes(10), minutes(25)),
        (vs("dummy", "rmse"), minutes(10), MEAN),
        (vs("absolute", "r2", 0.5), minutes(10), minutes(40)),
        (vs("absolute", "mae", 10.0), minutes(10), minutes(15)),
    ],
    ids=lambda value: value.name if isinstance(value, Rule) else "",
)
def test_each_rule_passes_a_good_regression_and_refuses_a_bad_one(rule, good, bad):
    champion = minutes(10)
    passed, refused = regress(rule, good, champion), regress(rule, bad, champion)
    assert passed.passed, passed.message
    assert not refused.passed, refused.message


def test_the_champion_itself_is_no_improvement():
    found = classify(vs("champion", "log_loss"), late(0.5), late(0.5))
    assert not found.passed
    assert found.value == found.bound == 0


def test_an_improvement_by_noise_alone_is_refused_as_often_as_the_rule_says():
    """Candidate and champion differ by independent noise; at 95 % about 1 in 20 slips through."""
    random = np.random.default_rng(11)
    passed = []
    for seed in range(200):
        rows = random.choice(ROWS, 500, replace=False)
        candidate, champion = (
            1 / (1 + np.exp(-(LOGIT[rows] + random.normal(0, 0.3, 500)))) for _ in range(2)
        )
        (found,) = judge(
            [vs("champion", "log_loss")],
            LATE[rows],
            {"candidate": candidate, "champion": champion, "dummy": DUMMY[rows]},
            objective="log_loss",
            resamples=200,
            seed=seed,
        )
        passed.append(found.passed)
    assert np.mean(passed) <= 0.09


def test_the_worst_group_decides_and_is_named():
    found = classify(vs("champion", "log_loss", -0.03, by="carrier"), worse_for("C"), late(0.5))
    assert found.group == "C"
    assert "carrier C, the worst of 8 groups" in found.message
    assert found.value < found.threshold


def test_the_same_rows_give_the_same_result_in_any_order():
    order = np.random.default_rng(0).permutation(ROWS)
    rules = [vs("champion", "log_loss"), vs("champion", "roc_auc", -0.1, by="carrier")]
    scores = {"candidate": late(0.4), "champion": late(0.5), "dummy": DUMMY}

    def found(rows):
        return judge(
            rules,
            LATE[rows],
            {name: score[rows] for name, score in scores.items()},
            {"carrier": CARRIER.iloc[rows]},
            objective="log_loss",
            resamples=50,
        )

    assert found(np.arange(ROWS)) == found(order)


def test_without_a_champion_the_other_rules_decide():
    rules = [vs("champion", "log_loss"), vs("dummy", "log_loss")]
    scores = {"candidate": late(0.5), "champion": None, "dummy": DUMMY}
    first, second = judge(rules, LATE, scores, objective="log_loss", resamples=50)
    assert first.skipped
    assert first.passed
    assert "no champion yet" in first.message
    assert first.bound is None
    assert second.passed
    assert not second.skipped


@pytest.mark.parametrize(("candidate", "passes"), [(late(0.5), True), (DUMMY, False)])
def test_a_gate_that_knows_only_the_champion_asks_the_dummy_first(candidate, passes):
    rules = [vs("champion", "roc_auc"), vs("champion", "brier", -0.1, by="carrier")]
    scores = {"candidate": candidate, "dummy": DUMMY}
    found = judge(rules, LATE, scores, objective="log_loss", resamples=50)
    assert [result.rule for result in found] == [rule.name for rule in rules]
    assert [result.passed for result in found] == [passes, passes]
    assert not any(result.skipped for result in found)
    assert "gain in log_loss over the dummy" in found[0].message


def test_a_slice_without_a_group_of_enough_rows_proves_nothing():
    rule = Rule(metric="log_loss", against="dummy", slice="carrier", min_rows=ROWS)
    found = classify(rule, late(0.1))
    assert not found.passed
    assert found.message == f"no group of carrier has {ROWS} rows in 5 blocks"


def test_rows_that_share_their_fate_are_less_evidence():
    """The candidate wins on one lucky day of eight: no proof, whatever the number of its rows."""
    day = np.repeat(np.arange(8), ROWS // 8)
    lucky = np.where(day == 3, late(0.0), late(0.5))
    rule = vs("champion", "log_loss")
    assert classify(rule, lucky, late(0.5)).passed
    assert not classify(rule, lucky, late(0.5), blocks=day).passed


def test_too_few_blocks_prove_nothing():
    found = classify(vs("dummy", "log_loss"), late(0.0), blocks=np.arange(ROWS) % 4)
    assert not found.passed
    assert found.bound is None
    assert "no bound is known" in found.message
    sliced = classify(vs("dummy", "log_loss", by="carrier"), late(0.0), blocks=np.arange(ROWS) % 4)
    assert not sliced.passed


def test_a_group_of_one_class_proves_nothing_about_a_ranking():
    truth = np.where(CARRIER == "B", 0.0, LATE)
    scores = {"candidate": late(0.1), "dummy": DUMMY}
    rule = vs("absolute", "roc_auc", 0.5, by="carrier")
    (found,) = judge([rule], truth, scores, {"carrier": CARRIER}, objective="log_loss")
    assert not found.passed
    assert "carrier B: roc_auc is undefined" in found.message


def broken(score: np.ndarray, value: float) -> np.ndarray:
    score = score.copy()
    score[7] = value
    return score


@pytest.mark.parametrize(
    ("truth", "scores", "message"),
    [
        (LATE[:0], {"candidate": LATE[:0], "dummy": LATE[:0]}, "no held-out rows"),
        (np.zeros(ROWS), {"candidate": late(0.5), "dummy": DUMMY}, r"classes \[0.0\]"),
        (LATE + 1, {"candidate": late(0.5), "dummy": DUMMY}, "truth: .* no probability"),
        (LATE, {"candidate": broken(late(0.5), np.nan), "dummy": DUMMY}, "candidate: 1 of 4000"),
        (LATE, {"candidate": broken(late(0.5), 1.5), "dummy": DUMMY}, "e.g. 1.5 in row 7"),
        (
            LATE,
            {"candidate": late(0.5), "champion": broken(late(0.5), np.inf), "dummy": DUMMY},
            "champion: 1 of 4000",
        ),
        (LATE, {"candidate": late(0.5)[1:], "dummy": DUMMY}, "a value for each of 4000 rows"),
        (LATE, {"candidate": late(0.5)}, "scores: dummy missing"),
    ],
)
def test_rows_that_can_decide_nothing_are_refused(truth, scores, message):
    with pytest.raises(ValueError, match=message):
        judge([vs("champion", "log_loss")], truth, scores, objective="log_loss")


def test_a_slice_that_the_rows_lack_is_named():
    with pytest.raises(ValueError, match="have no slice 'origin'"):
        classify(vs("dummy", "log_loss", by="origin"), late(0.5))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metric": "accuracy", "against": "dummy"}, "metric: 'accuracy' is none of"),
        ({"metric": "brier", "against": "me"}, "against: 'me' is none of"),
        ({"metric": "brier", "against": "dummy", "confidence": 1.0}, "confidence: 1.0"),
    ],
)
def test_a_rule_with_a_mistake_says_which_field(fields, message):
    with pytest.raises(ValueError, match=message):
        Rule(**fields)
