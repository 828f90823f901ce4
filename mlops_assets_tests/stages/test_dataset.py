from __future__ import annotations

import json

import pandas as pd
import pytest

from mlops_assets_tests.toy import DEPOTS, ROWS_A_DAY, TOY, fetch, variant

DAY = "2024-01-20"


def broken(change):
    """A source whose rows are changed on the way."""
    return variant("broken_parcels", fetch=lambda start, end: change(fetch(start, end)))


def repaired():
    return variant("broken_parcels", fetch=fetch)


def set_cell(row, column, value):
    def change(frame):
        frame[column] = frame[column].astype(object)
        frame.loc[row, column] = value
        return frame

    return change


BAD = {
    "a missing column": (lambda f: f.drop(columns="weight"), "weight: the column is missing (60"),
    "a wrong type": (set_cell(2, "distance", "far"), "distance: expected type float (1 rows"),
    "too large": (set_cell(3, "weight", 51.0), "weight: expected at most 50 (1 rows, e.g. 51.0"),
    "negative": (set_cell(3, "distance", -1.0), "distance: expected at least 0 (1 rows, e.g. -1.0"),
    "an unknown category": (set_cell(4, "depot", "moon"), "known value (1 rows, e.g. moon"),
    "a missing value": (set_cell(5, "weight", None), "weight: expected a value (1 rows"),
    "a duplicate key": (
        lambda f: pd.concat([f, f.iloc[:1]], ignore_index=True),
        "parcel: expected unique (2 rows, e.g. 20240120-0",
    ),
    "half the rows": (lambda f: f.iloc[::2], "30 good rows, expected 33 to 120"),
    "no rows": (lambda f: f.iloc[:0], "no good rows"),
    "no time": (lambda f: f.drop(columns="handed_in_at"), "handed_in_at: the column is missing"),
    "an unreadable time": (set_cell(0, "handed_in_at", "soon"), "handed_in_at: expected type"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_day_is_refused_and_the_good_version_stays(name, workplace):
    change, message = BAD[name]
    work = workplace(repaired())
    work.run("dataset", work.days("2024-01-10", 11))
    before = work.stage("dataset", [DAY]).read("dataset", [DAY])

    result = workplace(broken(change)).run("dataset", [DAY])

    verdict = work.check("dataset", [DAY])["contract"]
    assert not verdict.passed
    assert message in verdict.description
    assert DAY in verdict.metadata["refused"]["raw_value"]
    pd.testing.assert_frame_equal(work.stage("dataset", [DAY]).read("dataset", [DAY]), before)
    assert "refused" in result.metadata


def test_bad_rows_wait_in_quarantine_with_the_reason(workplace):
    work = workplace(broken(set_cell(4, "depot", "moon")))
    work.run("dataset", [DAY])
    (row,) = (
        work.stage("dataset", [DAY]).tables.read("broken_parcels/quarantine").to_dict("records")
    )
    assert row["partition"] == DAY
    assert row["reason"] == "depot: expected a known value"
    assert json.loads(row["row"])["parcel"] == "20240120-4"


def test_a_repaired_source_replaces_the_bad_day(workplace):
    work = workplace(broken(lambda f: f.iloc[:0]))
    work.run("dataset", [DAY])
    assert not work.check("dataset", [DAY])["contract"].passed
    work = workplace(repaired())
    work.run("dataset", [DAY])
    assert work.check("dataset", [DAY])["contract"].passed
    assert len(work.stage("dataset", [DAY]).read("dataset", [DAY])) == ROWS_A_DAY


def test_one_bad_day_of_a_range_harms_no_other(workplace):
    days = workplace().days("2024-01-18", 4)
    work = workplace(broken(lambda f: f.where(f["parcel"] != "20240120-7")))
    result = work.run("dataset", days)
    assert [result.partitions[day]["quarantined"] for day in days] == [1, 0, 0, 0]
    stored = work.stage("dataset", days).tables.partitions("broken_parcels/dataset")
    assert stored == set(days) - {"2024-01-18"}  # an unreadable time is reported by the first


def test_tolerated_rows_are_quarantined_and_the_rest_accepted(workplace):
    use_case = variant(
        "tolerant_parcels",
        tolerance=0.02,
        fetch=lambda start, end: set_cell(4, "depot", "moon")(fetch(start, end)),
    )
    work = workplace(use_case)
    work.run("dataset", [DAY])
    verdict = work.check("dataset", [DAY])["contract"]
    assert verdict.passed
    assert "1 rows in quarantine" in verdict.description
    assert len(work.stage("dataset", [DAY]).read("dataset", [DAY])) == ROWS_A_DAY - 1


def test_a_range_and_its_days_one_by_one_give_the_same(workplace):
    work = workplace()
    days = work.days("2024-01-01", 3)
    together = work.run("dataset", days)
    alone = [work.run("dataset", [day]) for day in days]
    versions = [
        result.partitions[day]["data_version"] for day, result in zip(days, alone, strict=True)
    ]
    assert versions == [together.partitions[day]["data_version"] for day in days]
    assert len(work.stage("dataset", days).read("dataset", days)) == 3 * ROWS_A_DAY


def test_freshness_counts_from_the_clock_or_the_end_of_the_data(workplace):
    days = workplace().days("2024-01-01", 3)
    for now, fresh in (("2024-01-05", True), ("2024-01-07", False), ("2030-01-01", False)):
        work = workplace(now=pd.Timestamp(now, tz="UTC").to_pydatetime())
        work.run("dataset", days)
        assert work.check("dataset", days)["freshness"].passed is fresh
    last = workplace(now=pd.Timestamp("2030-01-01", tz="UTC").to_pydatetime())
    last.run("dataset", ["2024-03-31"])
    assert last.check("dataset", ["2024-03-31"])["freshness"].passed


def test_the_toy_keeps_its_own_contract():
    assert {column.name for column in TOY.contract} == set(fetch(*TOY.calendar.interval(DAY)))
    assert set(fetch(*TOY.calendar.interval(DAY))["depot"]) <= set(DEPOTS)
