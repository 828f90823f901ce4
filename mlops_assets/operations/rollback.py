"""Back to an earlier champion: ledger, registry alias and deployment together."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from mlops_assets import ledger, use_cases
from mlops_assets.ledger import Entry
from mlops_assets.lifecycle import deployment
from mlops_assets.lifecycle.champion import point_alias
from mlops_assets.operations.runs import console, instance
from mlops_assets.use_cases import UseCase
from resources import resources_for
from resources.clock import Clock
from resources.deployments.base import Deployments
from resources.deployments.release import Release
from resources.files import Files
from resources.registry import Registry
from resources.tables import Tables

INSTANT = timedelta(microseconds=1)


class RollbackError(RuntimeError):
    """There is nothing to go back to."""


def rollback(name: str, to: str | None, reason: str) -> int:
    """Roll back on the resources that MLOPS_ENV names; return the exit code."""
    found: dict[str, Any] = dict(resources_for(os.environ.get("MLOPS_ENV", "local")))
    try:
        with instance() as dagster:
            entry = roll_back(
                use_cases.get(name), to, reason, by=getpass.getuser(), dagster=dagster, **found
            )
    except (RollbackError, LookupError, dg.Failure) as error:
        text = error.description if isinstance(error, dg.Failure) else error.args[0]
        console.print(text, style="red", highlight=False, markup=False)
        return 1
    console.print(
        f"{name}: version {entry.model_version} ({entry.as_of}) is in charge again;"
        f" {entry.by}: {entry.reason}",
        highlight=False,
        markup=False,
    )
    return 0


def roll_back(
    use_case: UseCase,
    to: str | None,
    reason: str,
    *,
    by: str,
    dagster: dg.DagsterInstance,
    tables: Tables,
    files: Files,
    clock: Clock,
    registry: Registry,
    deployments: Deployments,
    **_: object,
) -> Entry:
    """Put version `to`, or the one before the present one, in charge; return its ledger entry.

    Asked again by the same person for the same reason, it finishes what was begun and goes no
    further back: it may be killed at any line. Raises RollbackError where there is no such version,
    and as `deployment.release` where the service is live and that version's cannot be deployed;
    then nothing has changed.
    """
    entries = ledger.entries(tables.store(), use_case)
    target = _target(use_case, entries, to, reason, by)
    wanted: Release | None = None
    if deployments.status(use_case.name).live is not None:
        wanted = deployment.release(use_case, target, files.store(), dagster)
    if target is not entries[-1]:
        target = _entry(use_case, target, entries[-1], reason, by, tables, clock)
        ledger.record(tables.store(), use_case, target)
    point_alias(use_case, tables, registry)
    if wanted is not None:
        deployments.roll_out(use_case.name, wanted)
    return target


def _target(
    use_case: UseCase, entries: Sequence[Entry], to: str | None, reason: str, by: str
) -> Entry:
    """The entry to return to: the last one, where that is what has been done already."""
    if not entries:
        raise RollbackError(f"{use_case.name} has had no champion yet")
    last = entries[-1]
    if to is not None:
        return _version(use_case, entries, to)
    if last.action == "rollback" and (last.by, last.reason) == (by, reason):
        return last
    path = _path(entries)
    if len(path) < 2:
        raise RollbackError(
            f"{use_case.name}: version {last.model_version} is the first; nothing was before it"
        )
    return path[-2]


def _version(use_case: UseCase, entries: Sequence[Entry], version: str) -> Entry:
    found = [entry for entry in entries if entry.model_version == version]
    if not found:
        were = ", ".join(dict.fromkeys(entry.model_version for entry in entries))
        raise RollbackError(
            f"{use_case.name}: version {version} was never in charge; there were {were}"
        )
    return found[-1]


def _path(entries: Sequence[Entry]) -> list[Entry]:
    """How the present champion came about: promotions, less those that were taken back."""
    path: list[Entry] = []
    for entry in entries:
        versions = [earlier.model_version for earlier in path]
        if entry.model_version in versions:
            del path[versions.index(entry.model_version) :]
        path.append(entry)
    return path


def _entry(
    use_case: UseCase,
    target: Entry,
    last: Entry,
    reason: str,
    by: str,
    tables: Tables,
    clock: Clock,
) -> Entry:
    now = clock.now()
    return replace(
        target,
        action="rollback",
        effective_at=max(_present(use_case, tables, now), last.effective_at + INSTANT),
        decided_at=now,
        reason=reason,
        by=by,
    )


def _present(use_case: UseCase, tables: Tables, now: datetime) -> datetime:
    """From when on it holds: now or, of data that have ended, the end of what was taken in.

    So promotions of later weeks, where the past is operated again, come after it.
    """
    if use_case.end is None or now < use_case.calendar.midnight(use_case.end):
        return now
    stored = tables.store().partitions(f"{use_case.name}/dataset")
    last = max(stored, default=use_case.calendar.first(use_case.start))
    return use_case.calendar.interval(last)[1] - timedelta(seconds=1)
