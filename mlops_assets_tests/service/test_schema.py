"""What the service takes, what it refuses, and that rows reach the model as training saw them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pandas as pd
import pytest
from hypothesis import given
from pydantic import ValidationError

from mlops_assets.ml.contract import PANDAS_DTYPES, Column
from mlops_assets.service import bundle, openapi
from mlops_assets.service.schema import ServiceSchema, answer_type, batch_type, row_type
from mlops_assets.service.scoring import frame
from mlops_assets.service.settings import Settings

from .conftest import FEATURES, KEY, LABEL, ROW

SCHEMA = ServiceSchema(
    use_case="toy",
    description="Will a toy be late?",
    kind="classification",
    model_version="7",
    model_sha256="0" * 64,
    key=KEY,
    features=FEATURES,
    label=LABEL,
)
MOMENT = Column(name="at", dtype="timestamp", description="When", nullable=True)
ALL_TYPES = (*FEATURES, MOMENT, Column(name="n", dtype="int", description="N", nullable=True))


def problem(changes: dict[str, Any] | str) -> tuple[str, str]:
    """The field and the kind of the only mistake in a row."""
    text = changes if isinstance(changes, str) else json.dumps(ROW | changes)
    with pytest.raises(ValidationError) as caught:
        row_type(SCHEMA).validate_json(text)
    (error,) = caught.value.errors()
    return ".".join(map(str, error["loc"])), error["type"]


def test_takes_a_row_and_keeps_it() -> None:
    assert row_type(SCHEMA).validate_json(json.dumps(ROW)) == ROW


@pytest.mark.parametrize(
    ("changes", "field", "kind"),
    [
        ({"distance": -1}, "distance", "greater_than_equal"),
        ({"distance": 5_001}, "distance", "less_than_equal"),
        ({"distance": 1.5}, "distance", "int_type"),
        ({"distance": "12"}, "distance", "int_type"),
        ({"distance": True}, "distance", "int_type"),
        ({"distance": None}, "distance", "int_type"),
        ({"origin": "LGA"}, "origin", "literal_error"),
        ({"wind speed": -0.1}, "wind speed", "greater_than_equal"),
        ({"night": 1}, "night", "bool_type"),
        ({"humidity": 1.0}, "humidity", "extra_forbidden"),
        ({"flight": 12}, "flight", "string_type"),
        ({"humid": float("nan")}, "humid", "finite_number"),
        ({"humid": float("-inf")}, "humid", "finite_number"),
        ("{", "", "json_invalid"),
        ("[1]", "", "dict_type"),
    ],
)
def test_names_what_is_wrong(changes: dict[str, Any] | str, field: str, kind: str) -> None:
    assert problem(changes) == (field, kind)


@pytest.mark.parametrize("column", FEATURES, ids=lambda column: column.name)
def test_every_feature_is_required_and_nullable_only_if_declared(column: Column) -> None:
    row = {name: value for name, value in ROW.items() if name != column.name}
    assert problem(json.dumps(row)) == (column.name, "missing")
    if column.nullable:
        assert row_type(SCHEMA).validate_json(json.dumps(ROW | {column.name: None}))
    else:
        assert problem({column.name: None})[0] == column.name


def test_takes_a_whole_number_written_with_a_point() -> None:
    row = row_type(SCHEMA).validate_json(json.dumps(ROW | {"distance": 12.0}))
    assert type(row["distance"]) is int


def test_an_unbounded_integer_fits_into_64_bits() -> None:
    schema = replace(SCHEMA, features=(Column(name="n", dtype="int", description="N"),))
    with pytest.raises(ValidationError, match="less than or equal to 9223372036854775807"):
        row_type(schema).validate_json('{"n": 9223372036854775808}')


def test_a_batch_has_rows_and_not_too_many() -> None:
    batches = batch_type(SCHEMA, max_rows=2)
    assert len(batches.validate_json(json.dumps({"rows": [ROW, ROW]}))["rows"]) == 2
    for rows in ([], [ROW] * 3):
        with pytest.raises(ValidationError, match="rows"):
            batches.validate_json(json.dumps({"rows": rows}))


def test_survives_json() -> None:
    assert ServiceSchema.from_json(SCHEMA.to_json()) == SCHEMA


def test_the_document_states_types_ranges_units_and_limits() -> None:
    schemas = openapi.document(SCHEMA, Settings(max_rows=17))["components"]["schemas"]
    columns = schemas["Row"]["properties"]
    assert columns["distance"] == {
        "title": "distance",
        "description": "How far",
        "type": "integer",
        "minimum": 0,
        "maximum": 5_000,
        "unit": "miles",
    }
    assert columns["wind speed"]["anyOf"] == [{"type": "number", "minimum": 0}, {"type": "null"}]
    assert columns["wind speed"]["unit"] == "mph"
    assert columns["origin"]["enum"] == ["EWR", "JFK"]
    assert set(schemas["Row"]["required"]) == set(ROW)
    assert schemas["Row"]["additionalProperties"] is False
    assert schemas["Batch"]["properties"]["rows"]["maxItems"] == 17
    score = schemas["Answer"]["properties"]["score"]
    assert (score["minimum"], score["maximum"]) == (0, 1)


def test_a_regression_states_the_unit_of_what_it_predicts() -> None:
    label = replace(LABEL, name="air_time", dtype="float", unit="minutes", max=None)
    schema = replace(SCHEMA, kind="regression", label=label)
    assert answer_type(schema).json_schema()["properties"]["score"]["unit"] == "minutes"


def test_the_token_is_in_the_document_where_one_is_asked_for() -> None:
    with_token = openapi.document(SCHEMA, Settings(token="secret"))
    operation = with_token["paths"]["/predict"]["post"]
    assert operation["security"] == [{"token": []}]
    assert "401" in operation["responses"]
    assert "secret" not in json.dumps(with_token)
    assert "security" not in openapi.document(SCHEMA, Settings())["paths"]["/predict"]["post"]


def values(column: Column) -> st.SearchStrategy[Any]:
    strategies: dict[str, st.SearchStrategy[Any]] = {
        "int": st.integers(
            -(2**63) if column.min is None else int(column.min), int(column.max or 2**63 - 1)
        ),
        "float": st.floats(column.min, allow_nan=False, allow_infinity=False),
        "bool": st.booleans(),
        "str": st.sampled_from(column.allowed) if column.allowed else st.text(),
        "timestamp": st.datetimes(
            pd.Timestamp("1900-01-01").to_pydatetime(), timezones=st.timezones()
        ),
    }
    plain = strategies[column.dtype]
    return plain | st.none() if column.nullable else plain


@given(
    st.lists(st.fixed_dictionaries({c.name: values(c) for c in ALL_TYPES}), min_size=1, max_size=4)
)
def test_a_frame_survives_the_way_through_json(rows: list[dict[str, Any]]) -> None:
    """What training saw and what the model gets online are the same frame, types included."""
    types = {column.name: PANDAS_DTYPES[column.dtype] for column in ALL_TYPES}
    trained = pd.DataFrame(
        {name: pd.Series([row[name] for row in rows], dtype=types[name]) for name in types}
    )
    schema = replace(SCHEMA, features=ALL_TYPES)
    request = json.dumps(bundle.records(trained))
    served = batch_type(schema, 4).validate_json(f'{{"rows": {request}}}')["rows"]
    pd.testing.assert_frame_equal(frame(served, ALL_TYPES), trained, check_exact=True)
