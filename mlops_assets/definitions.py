"""All use cases' life cycles, with the resources of the environment that MLOPS_ENV names."""

import os
import warnings

import dagster as dg

# Partitioned checks and concurrency pools are in preview; each use would warn every process.
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
warnings.filterwarnings("ignore", category=dg.BetaWarning)

from collections.abc import Sequence  # noqa: E402

from mlops_assets.lifecycle import lifecycle  # noqa: E402
from mlops_assets.use_cases import UseCase, discover  # noqa: E402
from resources import resources_for  # noqa: E402


def definitions(use_cases: Sequence[UseCase]) -> dg.Definitions:
    """The life cycles of these use cases on the resources that MLOPS_ENV names."""
    platform = dg.Definitions(
        resources=resources_for(os.environ.get("MLOPS_ENV", "local")),
        # What is heavy is given to Compute; a process for each step would only repeat the imports.
        executor=dg.in_process_executor,
    )
    return dg.Definitions.merge(*map(lifecycle, use_cases), platform)


defs = definitions(discover())
