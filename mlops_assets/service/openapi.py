"""The service's OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from mlops_assets.service.schema import (
    ServiceSchema,
    answer_type,
    batch_answer_type,
    batch_type,
    row_type,
)
from mlops_assets.service.settings import Settings

_SCHEMES = {"token": {"type": "http", "scheme": "bearer"}}
_REFUSALS = {
    "401": "The bearer token is missing or wrong.",
    "413": "The body is larger than this service takes.",
    "415": "The body is not application/json.",
    "422": "A field is missing, unknown, of another type or out of its range; `fields` names it.",
    "503": "More requests than can be answered, or logged, at the moment. Try again.",
}


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str = Field(examples=["rows.3.distance"])
    problem: str = Field(examples=["Input should be greater than or equal to 0"])


class Error(BaseModel):
    """Why there is no answer."""

    request_id: str
    error: str
    fields: list[FieldError] = []


def document(schema: ServiceSchema, settings: Settings) -> dict[str, Any]:
    """OpenAPI 3.1, with the types, ranges and units of the use case's columns."""
    schemas, ref = _components(schema, settings)
    components: dict[str, Any] = {"schemas": schemas}
    if settings.token:
        components["securitySchemes"] = _SCHEMES
    return {
        "openapi": "3.1.0",
        "info": {
            "title": schema.use_case,
            "description": schema.description,
            "version": schema.model_version,
        },
        "paths": {
            "/predict": {"post": _operation("predict", "Score one row", ref, settings)},
            "/predict_batch": {
                "post": _operation("predict_batch", "Score several rows", ref, settings)
            },
        },
        "components": components,
    }


def _components(
    service: ServiceSchema, settings: Settings
) -> tuple[dict[str, Any], dict[tuple[str, JsonSchemaMode], Any]]:
    """Schemas by name, and a reference to each request, answer and error."""
    wanted: list[tuple[tuple[str, JsonSchemaMode], TypeAdapter[Any]]] = [
        (("predict", "validation"), row_type(service)),
        (("predict", "serialization"), answer_type(service)),
        (("predict_batch", "validation"), batch_type(service, settings.max_rows)),
        (("predict_batch", "serialization"), batch_answer_type(service)),
        (("error", "serialization"), TypeAdapter(Error)),
    ]
    generator = GenerateJsonSchema(ref_template="#/components/schemas/{model}")
    refs, schemas = generator.generate_definitions(
        [((name, mode), mode, adapter.core_schema) for (name, mode), adapter in wanted]
    )
    components = {str(name): schema for name, schema in schemas.items()}
    return components, {key: refs[key, key[1]] for key, _ in wanted}


def _operation(
    name: str, summary: str, ref: dict[tuple[str, JsonSchemaMode], Any], settings: Settings
) -> dict[str, Any]:
    refusals = {status: text for status, text in _REFUSALS.items() if status != "401"}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [
            {
                "name": "X-Request-ID",
                "in": "header",
                "required": False,
                "description": "Names this request in the answer and in the log: up to 128 letters,"
                " digits and ._:- (anything else is replaced by a name of ours).",
                "schema": {"type": "string"},
            }
        ],
        "requestBody": {"required": True, "content": _json(ref[name, "validation"])},
        "responses": {
            "200": {"description": summary, "content": _json(ref[name, "serialization"])},
            **{
                status: {"description": text, "content": _json(ref["error", "serialization"])}
                for status, text in (_REFUSALS if settings.token else refusals).items()
            },
        },
        **({"security": [{"token": []}]} if settings.token else {}),
    }


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
