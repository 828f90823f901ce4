"""The model registry: versions of a use case's model, and which of them has which role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dagster import ConfigurableResource
from pydantic import Field

from resources.mlflow_client import client, default_ui, default_uri, quoted

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as Stored
    from mlflow.entities.model_registry import RegisteredModel

SHA256 = "sha256"
AS_OF = "as_of"


@dataclass(frozen=True)
class ModelVersion:
    """A registered model: a file and the hash its content must have.

    Nothing is ever loaded from the registry itself: read `source` and verify `sha256` first.
    """

    version: str
    source: str
    """URI of the model's file."""
    sha256: str
    as_of: str
    """The week whose training made it."""
    run_id: str
    """The tracked run that made it."""
    url: str
    """Its page in the MLflow UI."""


class Registry(ConfigurableResource[Any]):
    """MLflow's model registry; models are named like their use case, roles are aliases."""

    tracking_uri: str = Field(
        default_factory=default_uri,
        description="MLflow's tracking server or database; SQLite under MLOPS_HOME by default.",
    )
    ui: str = Field(
        default_factory=default_ui,
        description="Address of the MLflow UI, for links; MLOPS_MLFLOW_UI by default.",
    )

    def register(
        self,
        use_case: str,
        *,
        run_id: str,
        source: str,
        sha256: str,
        as_of: str,
        description: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """The version of this model; made unless the same content of the same week has one."""
        mlflow = client(self.tracking_uri)
        found = _versions(mlflow, use_case, sha256, as_of)
        if found:
            return found[0]
        _create_model(mlflow, use_case)
        # One transaction stores version and tags: a process killed here leaves both or neither.
        made = mlflow.create_model_version(
            use_case,
            source,
            run_id=run_id,
            tags={**(tags or {}), SHA256: sha256, AS_OF: as_of},
            description=description or None,
        )
        return str(made.version)

    def find(self, use_case: str, *, sha256: str, as_of: str) -> ModelVersion:
        """The version of a model of a week. Raises LookupError where `register` hasn't made it."""
        found = _versions(client(self.tracking_uri), use_case, sha256, as_of)
        if not found:
            raise LookupError(
                f"{use_case} has no version of {as_of} with SHA-256 {sha256[:12]}… in the registry;"
                " materialise its candidate again"
            )
        return self.version(use_case, found[0])

    def alias(self, use_case: str, alias: str) -> str | None:
        """The version that has a role ("champion", "challenger"); None where none has it."""
        model = _model(client(self.tracking_uri), use_case)
        version = None if model is None else model.aliases.get(alias)
        return None if version is None else str(version)

    def set_alias(self, use_case: str, alias: str, version: str) -> None:
        """Give a version a role; whichever had it loses it. Raises LookupError as `version`."""
        self.version(use_case, version)
        client(self.tracking_uri).set_registered_model_alias(use_case, alias, version)

    def version(self, use_case: str, version: str) -> ModelVersion:
        """What a version is. Raises LookupError where `register` has not made it."""
        stored = _version(client(self.tracking_uri), use_case, version)
        if SHA256 not in stored.tags or AS_OF not in stored.tags:
            raise LookupError(
                f"version {version} of {use_case} lacks the tags {SHA256} and {AS_OF}: it was"
                " registered by hand, and nothing says what its content must be"
            )
        return ModelVersion(
            version=str(stored.version),
            source=stored.source,
            sha256=stored.tags[SHA256],
            as_of=stored.tags[AS_OF],
            run_id=stored.run_id,
            url=f"{self.ui}/#/models/{use_case}/versions/{version}",
        )


def _versions(mlflow: MlflowClient, use_case: str, sha256: str, as_of: str) -> list[str]:
    """Versions with this content of this week, the first one first."""
    same = f"tags.{SHA256} = {quoted(sha256)} AND tags.{AS_OF} = {quoted(as_of)}"
    found = mlflow.search_model_versions(f"name = {quoted(use_case)} AND {same}")
    return sorted((str(model.version) for model in found), key=int)


def _model(mlflow: MlflowClient, name: str) -> RegisteredModel | None:
    return next(iter(mlflow.search_registered_models(f"name = {quoted(name)}")), None)


def _version(mlflow: MlflowClient, name: str, version: str) -> Stored:
    from mlflow.exceptions import MlflowException

    try:
        return mlflow.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise LookupError(f"{name} has no version {version} in the registry") from None


def _create_model(mlflow: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        mlflow.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
