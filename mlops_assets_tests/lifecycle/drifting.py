"""A use case for the real daemon: parcels that become much heavier on one Monday."""

from __future__ import annotations

from datetime import datetime, timedelta

import pandas as pd

from mlops_assets.use_cases import Retraining
from mlops_assets_tests.toy import TOY, variant

HEAVY_FROM = "2024-02-05"


def fetch(start: datetime, end: datetime) -> pd.DataFrame:
    rows = TOY.fetch(start, end)
    heavy = rows["handed_in_at"] >= pd.Timestamp(HEAVY_FROM, tz="UTC")
    return rows.assign(weight=rows["weight"].where(~heavy, 15 + rows["weight"] / 2))


USE_CASE = variant(
    "heavier_parcels", fetch=fetch, retraining=Retraining(cooldown=timedelta(weeks=1))
)
