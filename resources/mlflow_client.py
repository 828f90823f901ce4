"""The one way to MLflow: no global state, no noise, nothing sent home."""

from __future__ import annotations

import logging
import os
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from resources.home import home

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"


def default_uri() -> str:
    """MLflow's SQLite database under MLOPS_HOME."""
    return f"{SQLITE}{home('mlflow', 'mlflow.db')}"


def default_artifacts() -> str:
    return str(home("mlflow", "artifacts"))


def default_ui() -> str:
    """MLOPS_MLFLOW_UI, or where `mlflow server` listens."""
    return os.environ.get("MLOPS_MLFLOW_UI", "http://localhost:5000")


def client(uri: str) -> MlflowClient:
    """A client of a tracking server or database; SQLite's is created where it is missing."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):  # each tells of every step of a migration
        logging.getLogger(name).setLevel(logging.WARNING)
    if uri.startswith(SQLITE):
        _create(Path(uri.removeprefix(SQLITE)))
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _create(database: Path) -> None:
    """Make the database where there is none, whole or not at all; the first to be ready wins.

    MLflow itself migrates an empty file through all its history, in place: it takes many times
    longer, and to be killed meanwhile, or two processes at once, leave a file that opens no more.
    """
    if database.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    database.parent.mkdir(parents=True, exist_ok=True)
    memory = SqlAlchemyStore("sqlite://", str(database.parent / "artifacts")).engine
    with tempfile.TemporaryDirectory(dir=database.parent) as folder:
        draft = Path(folder, database.name)
        with closing(memory.raw_connection()) as source, closing(sqlite3.connect(draft)) as target:
            source.driver_connection.backup(target)
            # A third of the waiting, and none at all for those who only read.
            target.execute("PRAGMA journal_mode = WAL")
        with suppress(FileExistsError):
            os.link(draft, database)
    memory.dispose()


def quoted(text: str) -> str:
    """A text as a literal of MLflow's search language, which cannot escape quotes."""
    if "'" in text:
        raise ValueError(f"MLflow cannot search for {text!r}: it contains a single quote")
    return f"'{text}'"
