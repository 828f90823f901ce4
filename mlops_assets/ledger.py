"""The ledger of champions: which model version was in charge from when on, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from resources.delta import PARTITION, DeltaStore

if TYPE_CHECKING:
    from mlops_assets.use_cases import UseCase


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One change of champion."""

    action: Literal["promote", "rollback"]
    effective_at: datetime
    """From when on this version is the champion."""
    as_of: str
    """The week whose training made the model."""
    model_version: str
    """Its version in the registry."""
    model_sha256: str
    gate_sha256: str
    """The stored gate result that allowed the promotion."""
    decided_at: datetime
    reason: str
    by: str
    """The Dagster run, or the person, that decided."""


def entries(tables: DeltaStore, use_case: UseCase) -> list[Entry]:
    """All changes of champion, the oldest first."""
    if not tables.exists(_table(use_case)):
        return []
    frame = tables.read(_table(use_case)).sort_values(["effective_at", "decided_at"])
    rows = frame.drop(columns=PARTITION).to_dict("records")
    return [Entry(**{str(name): value for name, value in row.items()}) for row in rows]


def champion_at(ledger: Sequence[Entry], moment: datetime) -> Entry | None:
    """Who was in charge at a moment; None before the first promotion."""
    past = [entry for entry in ledger if entry.effective_at <= moment]
    return past[-1] if past else None


def champion_before(ledger: Sequence[Entry], moment: datetime) -> Entry | None:
    """Who was in charge until a moment: the one to beat for a model that would start then."""
    past = [entry for entry in ledger if entry.effective_at < moment]
    return past[-1] if past else None


def record(tables: DeltaStore, use_case: UseCase, entry: Entry) -> None:
    """Write an entry; writing the same promotion again replaces it."""
    import pandas as pd

    partition = entry.as_of
    if entry.action == "rollback":
        partition = f"rollback {entry.decided_at:%Y-%m-%dT%H:%M:%S.%f}"
    frame = pd.DataFrame([asdict(entry) | {PARTITION: partition}])
    for name in ("effective_at", "decided_at"):
        frame[name] = pd.to_datetime(frame[name], utc=True).astype("datetime64[us, UTC]")
    tables.overwrite(_table(use_case), frame, [partition])


def _table(use_case: UseCase) -> str:
    return f"{use_case.name}/champion"
