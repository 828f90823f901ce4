"""Ends a live service, which outlives all else that the life cycle starts."""

from __future__ import annotations

import os
from typing import Any

from mlops_assets import use_cases
from mlops_assets.operations.runs import console
from resources import resources_for


def stop(name: str) -> int:
    """End the use case's service, where one is live; return the exit code."""
    deployments: Any = resources_for(os.environ.get("MLOPS_ENV", "local"))["deployments"]
    try:
        use_case = use_cases.get(name)
    except LookupError as error:
        console.print(error.args[0], style="red", highlight=False, markup=False)
        return 1
    live = deployments.status(use_case.name).live
    deployments.stop(use_case.name)
    was = f"version {live.model_version} was live and is stopped" if live else "nothing was live"
    console.print(f"{name}: {was}", highlight=False)
    return 0
