"""What the stages that watch a week have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from mlops_assets import ledger
from mlops_assets.stages import Stage
from resources.delta import MissingDataError


def champion_of(stage: Stage) -> ledger.Entry:
    """Who was in charge when the week began."""
    start, _ = stage.calendar.week(stage.partition)
    champion = ledger.champion_at(ledger.entries(stage.tables, stage.use_case), start)
    if champion is None:
        raise MissingDataError(
            f"{stage.use_case.name} had no champion when week {stage.partition} began; materialise"
            f" {stage.use_case.name} / champion of that week or an earlier one first"
        )
    return champion


def days_of(stage: Stage, *assets: str) -> list[str]:
    """The partitions of the week that all the assets have: a refused day does not hide the rest."""
    wanted = stage.calendar.keys(*stage.calendar.week(stage.partition))
    stored = {asset: stage.tables.partitions(stage.table(asset)) for asset in assets}
    days = [key for key in wanted if all(key in keys for keys in stored.values())]
    if not days:
        lacking = [name for name, keys in stored.items() if not keys & set(wanted)] or list(assets)
        raise MissingDataError(
            f"{stage.use_case.name} / {' and '.join(lacking)}: nothing from {wanted[0]} to"
            f" {wanted[-1]}; materialise these partitions first"
        )
    return days


def predictions_of(stage: Stage, champion: ledger.Entry, days: Sequence[str]) -> pd.DataFrame:
    """The week's predictions that this champion made."""
    rows = stage.read("predictions", days)
    mine = rows[rows["model_sha256"] == champion.model_sha256].reset_index(drop=True)
    if mine.empty:
        raise MissingDataError(
            f"{stage.use_case.name}: no prediction from {days[0]} to {days[-1]} was made by version"
            f" {champion.model_version}, the champion of week {stage.partition}; materialise"
            f" {stage.use_case.name} / predictions of these days again"
        )
    return mine


def read_result(stage: Stage, asset: str) -> dict[str, Any]:
    """The stored result of a monitoring asset."""
    found: dict[str, Any] = stage.read_json(asset, stage.partition, "result.json")
    return found
