"""What the service takes and gives, as stated by a use case: types, ranges, units."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AwareDatetime, BeforeValidator, ConfigDict, Field, TypeAdapter
from pydantic.config import JsonDict
from typing_extensions import TypedDict

from mlops_assets.ml.contract import Column

Row = dict[str, Any]


def _whole(value: Any) -> Any:
    """5.0 is an integer in JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_TYPES: dict[str, Any] = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "timestamp": AwareDatetime,
}
_INT64 = {"ge": -(2**63), "le": 2**63 - 1}
_typed_dict: Any = TypedDict  # made from data, which no type checker can follow
# Strict, so that the text "12" is not taken for the number: a client that sends one sends mistakes.
_CONFIG = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True)
class ServiceSchema:
    """One version of one model, as its clients see it."""

    use_case: str
    description: str
    kind: Literal["classification", "regression"]
    model_version: str
    model_sha256: str
    key: tuple[Column, ...]
    """Columns that identify a row: logged, echoed and never required."""
    features: tuple[Column, ...]
    label: Column

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> ServiceSchema:
        fields = json.loads(data)
        for name in ("key", "features"):
            fields[name] = tuple(_column(column) for column in fields[name])
        return cls(**fields | {"label": _column(fields["label"])})

    @property
    def feature_names(self) -> list[str]:
        return [column.name for column in self.features]

    @property
    def key_names(self) -> list[str]:
        return [column.name for column in self.key]


def row_type(schema: ServiceSchema) -> TypeAdapter[Row]:
    """Validates one row: every feature must be there (null where it may be missing).

    Rows are dictionaries, so a column may have any name.
    """
    return TypeAdapter(_row(schema))


def batch_type(schema: ServiceSchema, max_rows: int) -> TypeAdapter[dict[str, list[Row]]]:
    """Validates `{"rows": [...]}` of 1 to `max_rows` rows."""
    row = _row(schema)
    size = Field(min_length=1, max_length=max_rows)
    rows: Any = Annotated[list[row], size]  # type: ignore[valid-type]
    return TypeAdapter(_object("Batch", {"rows": rows}))


def answer_type(schema: ServiceSchema) -> TypeAdapter[dict[str, Any]]:
    """The answer to one row."""
    return TypeAdapter(_object("Answer", _envelope(schema) | _prediction(schema)))


def batch_answer_type(schema: ServiceSchema) -> TypeAdapter[dict[str, Any]]:
    """The answer to a batch: one prediction a row, in the order of the rows."""
    prediction = _object("Prediction", _prediction(schema))
    fields = _envelope(schema) | {"predictions": list[prediction]}  # type: ignore[valid-type]
    return TypeAdapter(_object("BatchAnswer", fields))


def score_bounds(schema: ServiceSchema) -> tuple[float | None, float | None]:
    """The least and the greatest score there can be, as far as is known."""
    if schema.kind == "classification":
        return 0.0, 1.0
    return schema.label.min, schema.label.max


def _row(schema: ServiceSchema) -> Any:
    key = {
        column.name: NotRequired[_field(column, nullable=True)]
        for column in schema.key
        if column.name not in schema.feature_names
    }
    return _object("Row", key | {column.name: _field(column) for column in schema.features})


def _field(column: Column, nullable: bool = False) -> Any:
    """The column as a type that pydantic checks and documents."""
    plain: Any = Literal[column.allowed] if column.allowed else _TYPES[column.dtype]
    bounded: Any = Annotated[plain, Field(**_bounds(column))]
    if plain is int:
        bounded = Annotated[bounded, BeforeValidator(_whole)]
    extra: JsonDict | None = {"unit": column.unit} if column.unit else None
    about = Field(title=column.name, description=column.description, json_schema_extra=extra)
    return Annotated[(bounded | None) if column.nullable or nullable else bounded, about]


def _bounds(column: Column) -> dict[str, Any]:
    if column.allowed or column.dtype not in ("int", "float"):
        return {}
    declared = {"ge": column.min, "le": column.max}
    bounds = {name: bound for name, bound in declared.items() if bound is not None}
    if column.dtype == "float":
        return bounds
    return _INT64 | {name: math.ceil(b) if name == "ge" else int(b) for name, b in bounds.items()}


def _prediction(schema: ServiceSchema) -> dict[str, Any]:
    key = {column.name: _field(column, nullable=True) for column in schema.key}
    return {"score": Annotated[float, _about_score(schema)], "key": _object("Key", key)}


def _about_score(schema: ServiceSchema) -> Any:
    label = schema.label
    meaning = f"{label.name}: {label.description}"
    if schema.kind == "classification":
        return Field(description=f"Probability of {meaning}", ge=0, le=1)
    extra: JsonDict | None = {"unit": label.unit} if label.unit else None
    return Field(description=f"Prediction of {meaning}", json_schema_extra=extra)


def _envelope(schema: ServiceSchema) -> dict[str, Any]:
    about = Field(description="What the log calls this request: X-Request-ID, where one was sent")
    return {
        "request_id": Annotated[str, about],
        "model_version": Annotated[str, Field(examples=[schema.model_version])],
    }


def _object(name: str, fields: Mapping[str, Any]) -> Any:
    made = _typed_dict(name, dict(fields))
    made.__pydantic_config__ = _CONFIG
    return made


def _column(fields: dict[str, Any]) -> Column:
    allowed = fields.get("allowed")
    return Column(**fields | {"allowed": None if allowed is None else tuple(allowed)})
