from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mlops_assets.ml import drift
from mlops_assets.ml.drift.natural import Rates, angle
from mlops_assets.ml.drift.profile import rank_correlations
from mlops_assets.use_cases import Column
from mlops_assets_tests.stream import (
    COLUMNS,
    MONDAY,
    REFERENCE_WEEKS,
    compare,
    profile_of,
    stream,
)

ALPHA = 0.01
ROWS = 2_000


@pytest.fixture(scope="module")
def weeks():
    """A reference and one more week."""
    return stream(np.random.default_rng(7), REFERENCE_WEEKS + 1, ROWS)


@pytest.fixture(scope="module")
def reference(weeks):
    return weeks[weeks["week"] < REFERENCE_WEEKS]


@pytest.fixture(scope="module")
def profile(reference):
    return profile_of(reference)


@pytest.fixture
def week(weeks):
    return weeks[weeks["week"] == REFERENCE_WEEKS].reset_index(drop=True)


def failed(found: drift.Drift) -> set[str]:
    return {finding.name for finding in found.failures}


def test_a_week_like_the_others_passes(profile, week):
    found = compare(profile, week)
    assert not found.failed
    assert "no alarming drift" in found.summary
    names = {finding.name for finding in found.findings}
    assert {column.name for column in COLUMNS} | {"score"} <= names


# --- False alarms: how often the whole check fails though nothing has changed


def false_alarms(windows) -> tuple[int, int]:
    outcomes = [compare(*window).failed for window in windows]
    return sum(outcomes), len(outcomes)


def assert_at_most_alpha(alarms: int, windows: int) -> None:
    """More alarms than ALPHA explains would be seen once in ten thousand runs of this test."""
    assert stats.binom.sf(alarms - 1, windows, ALPHA) > 1e-4, f"{alarms} alarms in {windows}"


@pytest.mark.parametrize("rows", [50, 500, 5_000, 50_000])
def test_random_rows_of_the_reference_raise_no_more_alarms_than_declared(rows):
    """Of several references, so that a lucky one proves nothing."""

    def windows():
        for seed in range(3):
            reference = stream(np.random.default_rng(seed), REFERENCE_WEEKS, 5_000)
            profile = profile_of(reference)
            for draw in range(60 if rows < 50_000 else 6):
                yield profile, reference.sample(rows, random_state=draw)

    assert_at_most_alpha(*false_alarms(windows()))


@pytest.mark.parametrize(("rows", "references"), [(50, 20), (500, 10)])
def test_later_weeks_of_the_same_kind_raise_no_more_alarms_than_declared(rows, references):
    """Weeks that are all alike, that differ, that resemble the one before, that differ a lot."""

    def windows():
        for natural, memory in ((0.0, 0.0), (0.3, 0.0), (0.3, 0.5), (1.0, 0.5)):
            for seed in range(references):
                random = np.random.default_rng(seed)
                weeks = stream(random, REFERENCE_WEEKS + 4, rows, natural, memory)
                profile = profile_of(weeks[weeks["week"] < REFERENCE_WEEKS])
                for later in range(REFERENCE_WEEKS, REFERENCE_WEEKS + 4):
                    yield profile, weeks[weeks["week"] == later]

    assert_at_most_alpha(*false_alarms(windows()))


def test_a_whole_week_of_the_reference_raises_no_alarm(reference, profile):
    for _, week in reference.groupby("week"):
        assert not compare(profile, week).failed


@settings(max_examples=60, deadline=None)
@given(
    share=st.floats(0.01, 0.99),
    rows=st.integers(20, 5_000),
    natural=st.floats(0.0, 0.3),
    blocks=st.integers(5, 20),
    seed=st.integers(0, 2**32 - 1),
)
def test_p_values_of_shares_are_valid_for_any_size_and_spread(share, rows, natural, blocks, seed):
    """P(p <= a) <= a, up to the uncertainty of a few hundred draws, given the true variance."""
    random = np.random.default_rng(seed)
    rates = Rates((share,), (natural**2,), 10_000_000, 10_000_000, df=blocks - 1)
    moved = angle(np.array(share)) + natural * random.standard_t(blocks - 1, 300)
    hits = random.binomial(rows, np.sin(np.clip(moved, 0, np.pi) / 2) ** 2)
    p_values = np.array([rates.p_values(np.array([h]), rows)[0] for h in np.unique(hits)])
    p = p_values[np.searchsorted(np.unique(hits), hits)]
    for level in (0.1, 0.02):
        assert stats.binom.sf((p <= level).sum() - 1, len(p), level) > 1e-6


def test_p_values_are_binomial_tails_where_nothing_varies_naturally():
    rates = Rates((0.1,), (0.0,), 10**9, 11, df=10)
    expected = 2 * stats.binom.sf(14, 50, 0.1)
    assert rates.p_values(np.array([15]), 50)[0] == pytest.approx(expected, rel=1e-3)
    assert rates.p_values(np.array([0]), 50)[0] == pytest.approx(2 * 0.9**50, rel=1e-3)


# --- Power: what has to be found


def shifted(week):
    return week.assign(x0=week["x0"] + 2)


def new_unit(week):
    return week.assign(x3=week["x3"] * 1.8 + 32)


def new_category(week):
    return week.assign(carrier=week["carrier"].where(week.index % 5 > 0, "Z"))


def vanished_category(week):
    return week[week["carrier"] != "A"]


def broken_sensor(week):
    return week.assign(x2=0.0)


def empty(week):
    return week.assign(x2=np.nan)


def missing(week):
    return week.drop(columns="x2")


def half_missing(week):
    return week.assign(x2=week["x2"].where(week.index % 2 == 0))


def flipped_correlation(week):
    return week.assign(x1=-week["x1"])


def other_scores(week):
    return week.assign(score=week["score"] ** 3)


CHANGES = {
    shifted: ("x0", "x0: "),
    new_unit: ("x3", "x3: "),
    new_category: ("carrier", "new ('Z')"),
    vanished_category: ("carrier", "'A' has vanished"),
    broken_sensor: ("x2", "x2: is constant (0.0), the reference has 22000 values"),
    empty: ("x2", "x2: the column is empty"),
    missing: ("x2", "x2: the column is missing"),
    half_missing: ("x2", "50.0% of rows have no value"),
    flipped_correlation: ("x0 ~ x1", "rank correlation"),
    other_scores: ("score", "score: "),
}


@pytest.mark.parametrize("rows", [200, ROWS])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_is_found_and_said(profile, week, change, rows):
    name, message = CHANGES[change]
    found = compare(profile, change(week.head(rows)))
    assert found.failed
    assert name in failed(found)
    assert message in found.summary


@pytest.mark.parametrize("change", [new_unit, broken_sensor, empty, missing])
def test_fifty_rows_suffice_for_what_is_plainly_broken(profile, week, change):
    name, _ = CHANGES[change]
    assert name in failed(compare(profile, change(week.head(50))))


def test_no_rows_at_all_fail_every_column(profile, week):
    found = compare(profile, week.head(0))
    assert {column.name for column in COLUMNS} <= failed(found)
    assert "x0: the column is empty" in found.summary


def test_text_in_a_numeric_column_counts_as_no_value(profile, week):
    found = compare(profile, week.assign(x2="n/a"))
    assert "x2: the column is empty" in found.summary


def test_what_is_constant_by_chance_is_no_alarm(profile, week):
    """Rain falls in a tenth of the rows: twenty dry ones are nothing special."""
    found = compare(profile, week.head(20).assign(rain=0.0))
    assert "rain" not in failed(found)


def test_a_constant_column_of_the_reference_must_stay_as_it_is(reference, week):
    profile = profile_of(reference.assign(x5=3.0))
    assert not compare(profile, week.assign(x5=3.0)).failed
    assert failed(compare(profile, week.assign(x5=4.0))) == {"x5"}


# --- What fails the check, and what is only reported


def with_importance(profile: drift.Profile, **importance: float) -> drift.Profile:
    columns = [replace(c, importance=importance.get(c.name, 0.0)) for c in profile.columns]
    return replace(profile, columns=tuple(columns))


def test_a_small_change_of_a_column_that_does_not_matter_is_reported_only(profile, week):
    changed = week.assign(weekend=week["weekend"] | (week.index % 10 < 2))
    important = compare(with_importance(profile, weekend=1.0), changed)
    unimportant = compare(with_importance(profile, x0=1.0), changed)
    assert "weekend" in failed(important)
    assert "weekend" not in failed(unimportant)
    assert "weekend" in {finding.name for finding in unimportant.drifted}


def test_a_large_change_or_a_lost_column_fails_whatever_it_matters(profile, week):
    indifferent = with_importance(profile, x0=1.0)
    assert "x3" in failed(compare(indifferent, new_unit(week)))
    assert "x2" in failed(compare(indifferent, missing(week)))


def test_a_surer_reference_finds_smaller_changes():
    """The same shift: noise in weeks that differ by themselves, drift in weeks that don't."""
    verdicts = []
    for natural in (0.0, 1.0):
        weeks = stream(np.random.default_rng(3), REFERENCE_WEEKS + 1, ROWS, natural, 0.0)
        week = weeks[weeks["week"] == REFERENCE_WEEKS]
        profile = profile_of(weeks[weeks["week"] < REFERENCE_WEEKS])
        verdicts.append("x6" in failed(compare(profile, week.assign(x6=week["x6"] + 0.5))))
    assert verdicts == [True, False]


# --- Profiles


def test_a_profile_is_small_and_survives_json(profile):
    text = json.dumps(profile.to_json(), allow_nan=False)
    assert len(text) < 300_000
    assert drift.Profile.from_json(json.loads(text)) == profile


def test_thousands_of_categories_stay_small(reference):
    random = np.random.default_rng(0)
    names = [f"tail number {n}" for n in random.zipf(1.3, len(reference)) % 20_000]
    columns = [Column(name="tail", dtype="str", description="Many.")]
    frame = pd.DataFrame({"tail": names})
    profile = drift.profile(frame, columns, times=reference["time"].reset_index(drop=True))
    assert len(json.dumps(profile.to_json())) < 300_000
    assert not drift.compare(profile, frame.sample(2_000, random_state=1)).failed
    assert drift.compare(profile, frame.sample(2_000, random_state=1).add("x")).failed


def test_days_stand_in_for_weeks_where_there_are_few(weeks):
    three = weeks[weeks["week"] < 3]
    assert profile_of(three).blocks == 21


def test_too_short_a_time_to_learn_from_is_said(weeks):
    two_days = weeks[weeks["time"] < MONDAY + pd.Timedelta(days=2)]
    with pytest.raises(ValueError, match="5 weeks or days to learn what is natural, there are 2"):
        profile_of(two_days)


def test_scores_are_expected_where_unseen_rows_have_them(reference, week):
    """A model is surer of rows it was trained on; that is no drift."""
    sure = reference["score"].to_numpy() ** 3
    naive = drift.profile(reference, COLUMNS, times=reference["time"], scores=sure)
    unseen = drift.Unseen(reference["score"].to_numpy(), reference["time"])
    aware = drift.profile(reference, COLUMNS, times=reference["time"], scores=sure, unseen=unseen)
    assert "score" in failed(compare(naive, week))
    assert not compare(aware, week).failed


def test_rank_correlations_are_spearmans(week):
    numbers = week[["x0", "x1", "x4"]].to_numpy()
    r, rows = rank_correlations(numbers)
    assert r[0, 1] == pytest.approx(stats.spearmanr(week["x0"], week["x1"]).statistic)
    assert rows[0, 2] == week["x4"].notna().sum()
    assert r[0, 2] == pytest.approx(week["x0"].corr(week["x4"], method="spearman"), abs=0.01)


def test_distributions_for_pictures_are_shares(profile, week):
    for column in profile.columns:
        bars = drift.distribution(column, week[column.name])
        assert bars
        if column.kind == "numeric":
            assert sum(bar.current for bar in bars) == pytest.approx(1)
            assert sum(bar.reference for bar in bars) == pytest.approx(1, abs=0.01)
