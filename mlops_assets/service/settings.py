"""What an operator may set, through the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one process serves."""

    token: str | None = None
    """MLOPS_SERVICE_TOKEN: predictions are for those who send `Authorization: Bearer <token>`."""
    prediction_log: Path | None = None
    """MLOPS_PREDICTION_LOG: directory of the prediction log; without it, nothing is logged."""
    flush_ms: int = 200
    """MLOPS_PREDICTION_LOG_FLUSH_MS: how much of the prediction log a crash may lose."""
    max_rows: int = 1_000
    """MLOPS_SERVICE_MAX_ROWS: rows of one batch request, and of one call of the model."""
    max_bytes: int = 4 * 2**20
    """MLOPS_SERVICE_MAX_BYTES: of a request's body."""
    workers: int = 1
    """MLOPS_SERVICE_WORKERS: processes."""

    @classmethod
    def from_environment(cls) -> Settings:
        directory = os.environ.get("MLOPS_PREDICTION_LOG")
        return cls(
            token=os.environ.get("MLOPS_SERVICE_TOKEN") or None,
            prediction_log=Path(directory) if directory else None,
            flush_ms=_number("MLOPS_PREDICTION_LOG_FLUSH_MS", cls.flush_ms),
            max_rows=_number("MLOPS_SERVICE_MAX_ROWS", cls.max_rows),
            max_bytes=_number("MLOPS_SERVICE_MAX_BYTES", cls.max_bytes),
            workers=_number("MLOPS_SERVICE_WORKERS", cls.workers),
        )


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{name}={text!r} must be a whole number, at least 1")
    return int(text)
