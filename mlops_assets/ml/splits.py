"""Splits that respect time: what is validated on always comes after what was trained on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd


def weekly_folds(
    prediction_time: pd.Series, matured_at: pd.Series, folds: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions of (training, validation) rows: the last `folds` weeks, each after its past.

    A training row's label had matured when the validation week began. The rows are cut into weeks
    backwards from the last prediction; where fewer than `folds + 1` weeks exist, the time is cut
    into `folds + 1` equal spans instead. Folds without rows on either side are left out.
    """
    last = prediction_time.max() + pd.Timedelta(microseconds=1)
    span = min(pd.Timedelta(weeks=1), (last - prediction_time.min()) / (folds + 1))
    for n in range(folds, 0, -1):
        start, end = last - n * span, last - (n - 1) * span
        train = np.flatnonzero((prediction_time < start) & (matured_at < start))
        validation = np.flatnonzero((prediction_time >= start) & (prediction_time < end))
        if len(train) and len(validation):
            yield train, validation
