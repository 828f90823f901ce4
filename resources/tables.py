"""The resource for versioned tables."""

from __future__ import annotations

from typing import Any

from dagster import ConfigurableResource
from pydantic import Field

from resources.delta import DeltaStore
from resources.home import home


class Tables(ConfigurableResource[Any]):
    """Delta Lake tables under one URI; credentials come from the environment alone."""

    uri: str = Field(
        default_factory=lambda: str(home("tables")),
        description="Where the tables lie: a directory or s3://bucket/prefix.",
    )

    def store(self) -> DeltaStore:
        return DeltaStore(self.uri)
