"""A small model of strange columns, as a bundle, as a Bento, and as a running service."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mlops_assets.ml import models
from mlops_assets.ml.contract import PANDAS_DTYPES, Column
from mlops_assets.service import bundle
from mlops_assets.service.bundle import Bundle
from mlops_assets.service.schema import ServiceSchema
from resources import bento
from resources.artifacts import sha256

KEY = (
    Column(name="flight", dtype="str", description="Which flight"),
    Column(name="origin", dtype="str", description="Where from", allowed=("EWR", "JFK")),
)
FEATURES = (
    KEY[1],
    Column(name="distance", dtype="int", description="How far", unit="miles", min=0, max=5_000),
    Column(name="wind speed", dtype="float", description="Wind", unit="mph", min=0, nullable=True),
    Column(name="humid", dtype="float", description="Unbounded", nullable=True),
    Column(name="class", dtype="str", description="Any text", nullable=True),
    Column(name="night", dtype="bool", description="After dark"),
)
LABEL = Column(
    name="late", dtype="int", description="15 minutes late or more", min=0, max=1, known_at="landed"
)
ROW = {
    "origin": "JFK",
    "distance": 1_400,
    "wind speed": 11.5,
    "humid": None,
    "class": "economy",
    "night": False,
}


def features(rows: int = 200, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    values = {
        "origin": rng.choice(["EWR", "JFK"], rows),
        "distance": rng.integers(0, 5_000, rows),
        "wind speed": np.where(rng.random(rows) < 0.1, np.nan, rng.gamma(2, 5, rows)),
        "humid": rng.normal(size=rows),
        "class": rng.choice(["economy", "business"], rows),
        "night": rng.random(rows) < 0.3,
    }
    return pd.DataFrame(values).astype({c.name: PANDAS_DTYPES[c.dtype] for c in FEATURES})


@dataclass(frozen=True)
class Toy:
    """A bundle, and the model it was made from."""

    bundle: Bundle
    files: dict[str, bytes]
    model: object

    @property
    def schema(self) -> ServiceSchema:
        return self.bundle.schema

    @property
    def spec(self) -> bento.BentoSpec:
        return bento.BentoSpec(
            name=self.schema.use_case,
            model_version=self.schema.model_version,
            service=bundle.ENTRY,
            files=self.files,
            model=bundle.MODEL,
            model_sha256=self.schema.model_sha256,
            packages=bundle.PACKAGES,
            description=self.schema.description,
        )


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    root = tmp_path_factory.mktemp("bundle")
    model = _fit(features())
    data = models.dump(model)
    schema = ServiceSchema(
        use_case="toy",
        description="Will a toy be late?",
        kind="classification",
        model_version="7",
        model_sha256=sha256(data),
        key=KEY,
        features=FEATURES,
        label=LABEL,
    )
    files = bundle.files(schema, data, bundle.golden(model, features(5, seed=1), schema))
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return Toy(Bundle(root), files, model)


@pytest.fixture(scope="session")
def built(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> bento.BuiltService:
    return bento.build(toy.spec, tmp_path_factory.mktemp("bentoml"))


@pytest.fixture(scope="session")
def prediction_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prediction_log")


@pytest.fixture(scope="session")
def service(built: bento.BuiltService, prediction_log: Path) -> Iterator[httpx.Client]:
    """The Bento, served by BentoML in processes of its own."""
    with (
        bento.serving(built.path, prediction_log=prediction_log) as running,
        httpx.Client(base_url=running.url, timeout=30) as client,
    ):
        yield client


def _fit(frame: pd.DataFrame) -> object:
    late = (frame["distance"].astype(float) + 500 * frame["humid"] > 2_500).astype(int)
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["origin", "class"]),
        (numbers, ["distance", "wind speed", "humid"]),
        ("passthrough", ["night"]),
    )
    return make_pipeline(columns, LogisticRegression()).fit(frame, late)
