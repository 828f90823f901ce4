from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.ml.policy import AUTOMATIC, Cause, Retraining, State, decide, overdue

MONDAY = datetime(2024, 3, 4, tzinfo=UTC)
WEEK, DAY = timedelta(weeks=1), timedelta(days=1)
DRIFT = Cause(
    id="d", kind="drift", at=MONDAY, text="drift", week="2024-02-26", until=MONDAY
)  # fmt: skip
WISH = Cause(id="m", kind="manual", at=MONDAY, text="a new carrier flies")
READY = State(
    as_of=MONDAY,
    labels_until=MONDAY - DAY,
    labels_needed=MONDAY - 2 * DAY,
    trained_as_of=MONDAY - 3 * WEEK,
    champion_as_of=MONDAY - 3 * WEEK,
    in_flight=None,
    started_today=0,
)
POLICY = Retraining()


def test_a_failed_check_leads_to_a_training():
    found = decide(DRIFT, READY, POLICY)
    assert (found.decision, found.cause, found.as_of) == ("retrain", "drift", MONDAY)
    assert found.reason == "drift; the last training is 21 days old"


AGAINST = {
    "one in flight": {"in_flight": "another"},
    "labels not matured: known until 2024-02-05": {"labels_until": MONDAY - 4 * WEEK},
    "labels not matured: none": {"labels_until": None},
    "no data": {"as_of": None, "labels_needed": None},
    "cooldown: the champion is 7 days old": {
        "trained_as_of": MONDAY - WEEK,
        "champion_as_of": MONDAY - WEEK,
    },
    "daily budget: 1 of 1": {"started_today": 1},
    "same cause": {"trained_as_of": MONDAY},
}


@pytest.mark.parametrize("reason", AGAINST)
def test_what_speaks_against_it_is_said(reason):
    found = decide(DRIFT, replace(READY, **AGAINST[reason]), POLICY)
    assert found.decision == "skip"
    assert found.reason.startswith(reason)


def test_a_check_that_has_passed_since_is_no_reason():
    found = decide(replace(DRIFT, recovered=True), READY, POLICY)
    assert found.reason.startswith("recovered")


def test_after_a_training_that_changed_nothing_the_next_week_may_ask_again():
    refused = replace(READY, trained_as_of=MONDAY - WEEK)
    assert decide(DRIFT, refused, POLICY).decision == "retrain"
    assert decide(DRIFT, refused, Retraining(pause=2 * WEEK)).reason.startswith(
        "cooldown: the last"
    )


def test_there_is_nothing_to_learn_from_the_same_data():
    again = replace(READY, trained_as_of=MONDAY)
    cause = replace(DRIFT, until=MONDAY + WEEK)
    eager = Retraining(cooldown=0 * WEEK, pause=0 * WEEK)
    assert decide(cause, again, eager).reason.startswith("nothing new")


def test_the_first_model_needs_no_cooldown():
    none = replace(READY, trained_as_of=None, champion_as_of=None)
    assert decide(DRIFT, none, POLICY).decision == "retrain"


@pytest.mark.parametrize("reason", AGAINST)
def test_people_are_obeyed_unless_it_is_impossible(reason):
    found = decide(WISH, replace(READY, **AGAINST[reason]), POLICY)
    possible = reason.split(":")[0] in ("cooldown", "daily budget", "same cause")
    assert found.decision == ("retrain" if possible else "skip")
    assert not possible or found.reason == "a new carrier flies"


@pytest.mark.parametrize(("weeks", "due"), [(3, False), (4, True), (9, True)])
def test_a_model_grows_old(weeks, due):
    state = replace(READY, trained_as_of=MONDAY - weeks * WEEK)
    assert overdue(state, POLICY) is due
    assert not overdue(state, Retraining(max_age=None))


moments = st.none() | st.integers(-8, 8).map(lambda n: MONDAY + n * WEEK)
states = st.builds(
    State,
    as_of=moments,
    labels_until=moments,
    labels_needed=moments,
    trained_as_of=moments,
    champion_as_of=moments,
    in_flight=st.none() | st.just("another"),
    started_today=st.integers(0, 3),
)


@given(states, st.sampled_from([*AUTOMATIC, "manual", "schedule"]))
def test_no_training_on_immature_labels_nor_beside_another(state, kind):
    found = decide(replace(DRIFT, kind=kind), state, POLICY)
    if found.decision == "retrain":
        assert state.in_flight is None
        assert state.labels_until >= state.labels_needed
        assert kind not in AUTOMATIC or state.started_today < POLICY.daily_budget


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.booleans())
def test_however_often_checks_fail_trainings_keep_their_distance(failing, promoted):
    """A year of weeks: each failure asks, and what was decided is remembered."""
    trained = champion = MONDAY
    gaps = []
    for n, failed in enumerate(failing, 1):
        as_of = MONDAY + n * WEEK
        state = replace(
            READY,
            as_of=as_of,
            labels_until=as_of,
            labels_needed=as_of,
            trained_as_of=trained,
            champion_as_of=champion,
        )
        if failed and decide(replace(DRIFT, until=as_of), state, POLICY).decision == "retrain":
            gaps.append(as_of - trained)
            trained = as_of
            champion = as_of if promoted else champion
    assert all(gap >= POLICY.pause for gap in gaps)
    assert not promoted or all(gap >= POLICY.cooldown for gap in gaps)
