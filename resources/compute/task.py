"""What is run, on what, and what comes back: plain data that travels to any engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ComputeProfile:
    """What a task needs from the machine it runs on."""

    cpu: float = 1.0
    """Cores."""
    memory: str = "2Gi"
    """Bytes, as Kubernetes writes them: Mi, Gi."""
    gpu: int = 0
    gpu_type: str | None = None
    spot: bool = False
    """May run on capacity that can be taken away."""
    timeout: int = 3600
    """Seconds."""
    retries: int = 1
    """How often a task that lost its machine is tried again."""
    image: str | None = None


@dataclass(frozen=True, kw_only=True)
class Task:
    """One stage of a use case over some partitions, with all it reads and writes by URI.

    `module` names the worker: a module with `run(task) -> TaskResult`.
    """

    use_case: str
    stage: str
    partitions: tuple[str, ...]
    tables: str
    artifacts: str
    now: str
    """The moment the life cycle believes it is, ISO 8601: what has matured depends on it."""
    params: Mapping[str, Any] = field(default_factory=dict)
    profile: ComputeProfile = field(default_factory=ComputeProfile)
    module: str = "mlops_assets.worker"

    def __str__(self) -> str:
        return f"{self.stage} of {self.use_case}, {_shown(self.partitions)}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Task:
        task = cls(**data)
        profile = ComputeProfile(**data["profile"])
        return replace(task, partitions=tuple(task.partitions), profile=profile)


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """What a task did, as JSON values.

    `data_version` names the content of the whole result and `partitions` that of each partition:
    {"data_version": …, and any metadata of that partition}. `metadata` is for people: numbers are
    plain, everything else is `{"type": "md" | "json" | "text" | "path" | "url", "raw_value": …}`.
    `outputs` is for the caller: what it must log, register or decide on.
    """

    data_version: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    partitions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def _shown(partitions: tuple[str, ...]) -> str:
    if len(partitions) <= 2:
        return " and ".join(partitions) or "everything"
    return f"{len(partitions)} partitions from {partitions[0]} to {partitions[-1]}"
