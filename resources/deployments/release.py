"""What is deployed, and what is known about it: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

TOKEN = "MLOPS_SERVICE_TOKEN"  # noqa: S105 - its name; the token itself is in the environment only


class DeploymentError(RuntimeError):
    """A release could not be put in charge; what was live before still is."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """One version of a service, named by its content."""

    bento: str
    """Path of the Bento."""
    digest: str
    """What `resources.bento.digest` says of its files."""
    model_version: str
    """Its model's version in the registry."""
    golden_scores: tuple[float, ...]
    """What it must answer to its golden request."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Release:
        return cls(**{**data, "golden_scores": tuple(data["golden_scores"])})


@dataclass(frozen=True, kw_only=True)
class Status:
    """What serves a use case."""

    url: str | None = None
    """Where requests go, the same for every release; None before the first."""
    live: Release | None = None
    """What is in charge; None where nothing was rolled out, or it was stopped."""
    previous: Release | None = None
    """What was in charge before: a roll-back returns to it."""
    ready: bool = False
    """Whether the live release answers now."""
    restarts: int = 0
    """How often its process died and was started again."""
    problem: str = ""
    """Why it does not answer, where that is known."""
