"""The resource for models, reports and manifests."""

from __future__ import annotations

from typing import Any

from dagster import ConfigurableResource
from pydantic import Field

from resources.artifacts import Artifacts
from resources.home import home


class Files(ConfigurableResource[Any]):
    """Files under one URI; credentials come from the environment alone."""

    uri: str = Field(
        default_factory=lambda: str(home("artifacts")),
        description="Where the files lie: a directory or s3://bucket/prefix.",
    )

    def store(self) -> Artifacts:
        return Artifacts(self.uri)
