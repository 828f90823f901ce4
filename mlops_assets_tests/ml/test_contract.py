from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.ml.contract import REASON, Column, as_of, validate, violations

COLUMNS = (
    Column(name="id", dtype="int", description="", min=0),
    Column(name="kind", dtype="str", description="", allowed=("a", "b"), nullable=True),
    Column(name="size", dtype="float", description="", nullable=True, max=10),
    Column(name="at", dtype="timestamp", description=""),
    Column(name="on", dtype="bool", description="", nullable=True),
)
GOOD = pd.DataFrame(
    {
        "id": [1, 2, 3],
        "kind": ["a", None, "b"],
        "size": [1.5, None, 10.0],
        "at": ["2024-01-01T00:00:00Z", "2024-01-01T02:00:00+01:00", "2024-01-02"],
        "on": [True, None, False],
    }
)


def test_good_rows_come_back_typed():
    found = validate(GOOD, COLUMNS, ["id"])
    assert found.bad.empty
    assert found.good["id"].dtype == "Int64"
    assert found.good["on"].dtype == "boolean"
    assert found.good["at"].dtype == "datetime64[us, UTC]"
    assert found.good["at"].iloc[1] == pd.Timestamp("2024-01-01T01:00Z")
    assert found.good["kind"].iloc[1] is None


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("id", "x", "id: expected type int"),
        ("id", 1.5, "id: expected type int"),
        ("id", None, "id: expected a value"),
        ("id", -1, "id: expected at least 0"),
        ("id", 2, "id: expected unique"),
        ("kind", "c", "kind: expected a known value"),
        ("size", 10.01, "size: expected at most 10"),
        ("size", "big", "size: expected type float"),
        ("at", "yesterday", "at: expected type timestamp"),
        ("on", "perhaps", "on: expected type bool"),
    ],
)
def test_a_bad_value_is_named(column, value, expected):
    frame = GOOD.astype(object)
    frame.loc[0, column] = value
    found = validate(frame, COLUMNS, ["id"])
    assert expected in found.bad.loc[0, REASON]
    assert 2 in found.good.index
    assert expected in {f"{v.column}: {v.expected}" for v in violations(found.bad)}


def test_a_missing_column_makes_every_row_bad():
    found = validate(GOOD.drop(columns=["size", "at"]), COLUMNS, ["id"])
    assert found.good.empty
    assert [v.column for v in violations(found.bad)] == ["at", "size"]
    assert {v.count for v in violations(found.bad)} == {3}


@given(st.lists(st.one_of(st.integers(-5, 5), st.none(), st.text(max_size=2)), max_size=20))
def test_every_row_is_either_good_or_bad_with_a_reason(values):
    frame = pd.DataFrame({"id": pd.Series(values, dtype=object)})
    found = validate(frame, COLUMNS[:1], ["id"])
    assert sorted([*found.good.index, *found.bad.index]) == list(frame.index)
    assert found.good["id"].ge(0).all()
    assert found.good["id"].is_unique
    assert found.bad[REASON].str.len().gt(0).all()


@given(st.permutations([0, 1, 2]))
def test_the_order_of_rows_does_not_matter(order):
    frame = GOOD.astype(object)
    frame.loc[1, "id"] = -1
    found = validate(frame.iloc[order], COLUMNS, ["id"])
    assert list(found.bad.index) == [1]


def test_as_of_hides_what_was_not_known_yet():
    columns = (
        Column(name="value", dtype="int", description="", known_at="known"),
        Column(name="plan", dtype="int", description=""),
    )
    frame = pd.DataFrame(
        {
            "value": pd.array([1, 2, 3], dtype="Int64"),
            "plan": [7, 8, 9],
            "known": pd.to_datetime(["2024-01-01", "2024-01-03", None], utc=True),
            "made": pd.to_datetime(["2024-01-01", "2024-01-01", "2024-01-05"], utc=True),
        }
    )
    at = pd.Timestamp("2024-01-02", tz="UTC")
    assert as_of(frame, columns, at)["value"].tolist() == [1, pd.NA, pd.NA]
    assert as_of(frame, columns, at)["plan"].tolist() == [7, 8, 9]
    assert as_of(frame, columns, at, recorded_at="made")["plan"].tolist() == [7, 8]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dtype": "number"}, "'x': dtype 'number' is none of int, float"),
        ({"dtype": "int", "min": 2, "max": 1}, "'x': min 2 exceeds max 1"),
    ],
)
def test_a_wrong_column_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Column(name="x", description="", **fields)
