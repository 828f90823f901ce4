"""Where things run and what they use: all that differs between a laptop and a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagster import ConfigurableResource

# Imported where they are used: workers import this package and have no Dagster.


def resources_for(environment: str) -> dict[str, ConfigurableResource[Any]]:
    """The resources of an environment, by the name assets ask for them. There is `local`."""
    if environment != "local":
        raise ValueError(f"there is no environment {environment!r}; set MLOPS_ENV to local")
    return _local()


def _local() -> dict[str, ConfigurableResource[Any]]:
    from resources.clock import Clock
    from resources.compute.local import LocalCompute
    from resources.deployments.local import LocalDeployments
    from resources.files import Files
    from resources.home import home
    from resources.images import Images
    from resources.registry import Registry
    from resources.tables import Tables
    from resources.tracking import Tracking

    return {
        "clock": Clock(),
        "compute": LocalCompute(),
        "deployments": LocalDeployments(),
        "files": Files(),
        "images": Images(home=str(home("bentoml"))),
        "registry": Registry(),
        "tables": Tables(),
        "tracking": Tracking(),
    }
