from __future__ import annotations

import pytest

from resources.registry import Registry
from resources.tracking import Tracking


@pytest.fixture(scope="session")
def mlflow_home(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A place for MLflow that tests share, since its database takes seconds to make."""
    return str(tmp_path_factory.mktemp("mlflow"))


@pytest.fixture
def tracking(mlflow_home: str) -> Tracking:
    return Tracking(
        tracking_uri=f"sqlite:///{mlflow_home}/mlflow.db", artifacts=f"{mlflow_home}/artifacts"
    )


@pytest.fixture
def registry(mlflow_home: str) -> Registry:
    return Registry(tracking_uri=f"sqlite:///{mlflow_home}/mlflow.db")
