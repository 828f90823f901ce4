"""Every Dagster process, each run's included, loads the definitions again before it does anything.

A fresh interpreter imports them and builds the repository, as the code server does, against one
that does no more than `import dagster`. Processor time is counted.
"""

from __future__ import annotations

from functools import partial

from benchmarks.rows import Row, in_turns, processor_seconds
from mlops_assets.use_cases import discover

OURS = "from mlops_assets.definitions import defs; defs.get_repository_def()"
PEER = "import dagster"


def measure(quick: bool) -> list[Row]:
    ours, peer = in_turns(
        partial(processor_seconds, OURS), partial(processor_seconds, PEER), 7 if quick else 15
    )
    name = f"load the definitions, {len(discover())} use case(s), in s"
    return [Row(name, ours, peer, PEER, target=1.5)]
