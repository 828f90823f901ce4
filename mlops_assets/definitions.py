"""All use cases' life cycles, with the resources of the environment that MLOPS_ENV names."""

import os
import warnings

import dagster as dg

# Partitioned checks and concurrency pools are in preview; each use would warn every process.
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
warnings.filterwarnings("ignore", category=dg.BetaWarning)

from mlops_assets.lifecycle import lifecycle  # noqa: E402
from mlops_assets.use_cases import discover  # noqa: E402
from resources import resources_for  # noqa: E402

defs = dg.Definitions.merge(
    *(lifecycle(use_case) for use_case in discover()),
    dg.Definitions(
        resources=resources_for(os.environ.get("MLOPS_ENV", "local")),
        # What is heavy is given to Compute; a process for each step would only repeat the imports.
        executor=dg.in_process_executor,
    ),
)
