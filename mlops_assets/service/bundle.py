"""The files a Bento is made of: code, model, schema and a request with its known answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lazy_loader as lazy

import mlops_assets
from mlops_assets.service.schema import Row, ServiceSchema

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy.load("pandas")

MODEL, SCHEMA, GOLDEN = "model.skops", "schema.json", "golden.json"
ENTRY = "mlops_assets.service.main:Predictor"
PACKAGES = (
    "bentoml", "httptools", "lazy-loader", "numpy", "pandas", "prometheus-client", "pydantic",
    "scikit-learn", "skops", "starlette", "uvicorn", "uvloop",
)  # fmt: skip
"""Distributions the code below imports, or that make its server fast."""
_CODE = ("__init__.py", "ml/__init__.py", "ml/contract.py", "ml/models.py", "service/*.py")


class ModelMismatchError(RuntimeError):
    """The model is not the one the schema was written for."""


def files(schema: ServiceSchema, model: bytes, golden: bytes) -> dict[str, bytes]:
    """Everything that is copied into the Bento, by path."""
    return {MODEL: model, SCHEMA: schema.to_json(), GOLDEN: golden} | _code()


def golden(model: Any, features: pd.DataFrame, schema: ServiceSchema) -> bytes:
    """A request of all rows of `features`, with the scores the model itself gives them.

    `features` has the types training saw: asked over HTTP, the request proves that rows reach the
    model as they did then.
    """
    from mlops_assets.ml import models

    rows = features[schema.feature_names]
    scores = models.score(model, rows).tolist()
    return json.dumps({"request": {"rows": records(rows)}, "scores": scores}, indent=1).encode()


def records(rows: pd.DataFrame) -> list[Row]:
    """The rows of a frame as a client sends them: missing is null, moments are text."""
    return [
        {str(name): None if pd.isna(value) else _plain(value) for name, value in record.items()}
        for record in rows.to_dict("records")
    ]


@dataclass(frozen=True)
class Bundle:
    """The files, as the service finds them."""

    root: Path

    @cached_property
    def schema(self) -> ServiceSchema:
        return ServiceSchema.from_json((self.root / SCHEMA).read_bytes())

    def golden(self) -> tuple[list[Row], list[float]]:
        """Rows as a client sends them, and their scores."""
        found = json.loads((self.root / GOLDEN).read_bytes())
        return found["request"]["rows"], found["scores"]

    def model_bytes(self) -> bytes:
        """The model file, verified.

        Raises ModelMismatchError where it is not the one that was approved.
        """
        data = (self.root / MODEL).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        if digest != self.schema.model_sha256:
            raise ModelMismatchError(
                f"{MODEL} has SHA-256 {digest}, the schema of {self.schema.use_case} version "
                f"{self.schema.model_version} states {self.schema.model_sha256}: the file was "
                "changed after the build; build the service again"
            )
        return data


def _code() -> dict[str, bytes]:
    package = Path(mlops_assets.__file__).parent
    found: Sequence[Path] = sorted(path for name in _CODE for path in package.glob(name))
    return {f"{package.name}/{path.relative_to(package)}": path.read_bytes() for path in found}


def _plain(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value.item() if hasattr(value, "item") else value
