from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from mlops_assets_tests.toy import TOY, compute_features, fetch, variant
from resources.delta import MissingDataError


def leaky(rows, history):
    """Knows the label of the very row it describes."""
    return compute_features(rows, history).assign(late_share=rows["late"].astype("float64"))


def peeking(rows, history):
    """Knows how many parcels of the whole day, later ones included, will be late."""
    return compute_features(rows, history).assign(late_share=history["late"].astype(float).mean())


@pytest.mark.parametrize("cheat", [leaky, peeking])
def test_a_leak_is_found(cheat, workplace):
    work = workplace(variant("leaky_parcels", compute_features=cheat))
    days = work.days("2024-01-01", 5)
    work.run("dataset", days)
    work.run("features", days)
    verdict = work.check("features", days)["no_leakage"]
    assert not verdict.passed
    assert "late_share" in verdict.description


def test_honest_features_pass_all_checks(workplace):
    work = workplace()
    days = work.days("2024-01-01", 5)
    work.run("dataset", days)
    work.run("features", days)
    assert all(verdict.passed for verdict in work.check("features", days).values())


def test_features_of_a_range_and_of_single_days_are_the_same(workplace):
    work = workplace()
    days = work.days("2024-01-01", 6)
    work.run("dataset", days)
    together = work.run("features", days)
    alone = work.run("features", days[4:5])
    assert together.partitions[days[4]] == alone.partitions[days[4]]


def test_out_of_range_and_missing_features_are_found(workplace):
    def wrong(rows, history):
        features = compute_features(rows, history)
        return features.assign(weight=99.0, late_share=np.nan)

    work = workplace(variant("wrong_parcels", compute_features=wrong))
    days = work.days("2024-01-01", 2)
    work.run("dataset", days)
    work.run("features", days)
    found = work.check("features", days)
    assert "weight: expected at most 50" in found["schema"].description
    assert "late_share: expected a value" in found["schema"].description
    assert "late_share 100%" in found["null_rate"].description
    assert not found["schema"].passed
    assert not found["null_rate"].passed


def test_undeclared_features_are_refused(workplace):
    work = workplace(
        variant("odd_parcels", compute_features=lambda r, h: compute_features(r, h).assign(x=1.0))
    )
    days = work.days("2024-01-01", 1)
    work.run("dataset", days)
    with pytest.raises(ValueError, match=r"\['x'\] are computed but not declared"):
        work.run("features", days)


def test_a_day_never_fetched_is_named_and_a_refused_one_is_done_without(workplace):
    work = workplace(variant("gap_parcels", fetch=fetch))
    days = work.days("2024-01-01", 4)
    work.run("dataset", [days[0], *days[2:]])
    with pytest.raises(MissingDataError, match="2024-01-02; materialise it first"):
        work.run("features", days[2:])
    workplace(variant("gap_parcels", fetch=lambda s, e: fetch(s, e).iloc[:0])).run(
        "dataset", days[1:2]
    )
    assert work.run("features", days[2:]).partitions.keys() == set(days[2:])
    with pytest.raises(MissingDataError, match="2024-01-02"):
        work.run("features", days[1:2])


def test_labels_wait_until_they_have_matured(workplace):
    days = workplace().days("2024-01-01", 3)
    workplace().run("dataset", days)
    early = workplace(now=datetime(2024, 1, 4, 12, tzinfo=UTC))
    result = early.run("labels", days)
    assert [result.partitions[day]["rows"] for day in days[:2]] == [60, 60]
    assert 0 < result.partitions[days[2]]["rows"] < 60
    assert not early.check("labels", days)["maturity"].passed
    later = workplace()
    later.run("labels", days)
    assert later.check("labels", days)["maturity"].passed


def test_labels_known_only_after_the_delay_mature_when_they_are_known(workplace):
    def slow(start, end):
        frame = fetch(start, end)
        frame.loc[0, "delivered_at"] = frame.loc[0, "handed_in_at"] + np.timedelta64(9, "D")
        return frame

    work = workplace(variant("slow_parcels", fetch=slow), datetime(2024, 1, 8, tzinfo=UTC))
    days = work.days("2024-01-01", 1)
    work.run("dataset", days)
    assert work.run("labels", days).partitions[days[0]]["rows"] == 59


def test_rows_without_a_label_lower_the_coverage(workplace):
    def lost(start, end):
        frame = fetch(start, end)
        frame["late"] = frame["late"].astype("Int64").where(frame.index % 2 == 0)
        return frame

    work = workplace(variant("lost_parcels", fetch=lost))
    days = work.days("2024-01-01", 1)
    work.run("dataset", days)
    assert work.run("labels", days).partitions[days[0]]["without_label"] == 30
    assert not work.check("labels", days)["coverage"].passed


def test_the_toys_features_are_those_declared():
    rows = fetch(*TOY.calendar.interval("2024-01-01"))
    assert list(compute_features(rows, rows)) == TOY.feature_names
