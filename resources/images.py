"""Where services are built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dagster import ConfigurableResource
from pydantic import Field

from resources import bento
from resources.bento import BentoSpec, BuiltService
from resources.home import home


class Images(ConfigurableResource[Any]):
    """Builds Bentos into a BentoML store and asks them their golden request."""

    home: str = Field(
        default_factory=lambda: str(home("bentoml")),
        description="BentoML's home directory: Bentos are kept in its store.",
    )

    def build(self, spec: BentoSpec) -> BuiltService:
        """The Bento of this content, built unless the store holds it. Raises as `bento.build`."""
        return bento.build(spec, Path(self.home))

    def ask_golden(self, built: BuiltService) -> list[float]:
        """The scores a real process serving the Bento answers to its golden request."""
        return bento.ask_golden(built.path)
