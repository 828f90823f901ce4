"""Where everything generated lies, unless it is told to lie elsewhere."""

from __future__ import annotations

import os
from pathlib import Path


def home(*parts: str) -> Path:
    """MLOPS_HOME (default: `.mlops` in the current directory), or a path below it; absolute."""
    return Path(os.environ.get("MLOPS_HOME", ".mlops")).absolute().joinpath(*parts)
