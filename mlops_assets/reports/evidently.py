"""Evidently's page on drift: for reading, not for judging."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from mlops_assets.ml.contract import Column

SAMPLE = 2_000


def render(
    reference: pd.DataFrame, current: pd.DataFrame, columns: Sequence[Column], seed: int
) -> str:
    """A page that compares samples of two frames, column by column.

    Columns without a value on either side are left out: Evidently has nothing to draw of them.
    """
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    samples = [
        frame.sample(min(SAMPLE, len(frame)), random_state=seed) for frame in (reference, current)
    ]
    shown = [c for c in columns if c.dtype != "timestamp" and _has_values(c.name, samples)]
    numbers = [c.name for c in shown if c.dtype in ("int", "float")]
    texts = [c.name for c in shown if c.dtype not in ("int", "float")]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=texts)
    before, after = (
        Dataset.from_pandas(_plain(sample, numbers, texts), data_definition=definition)
        for sample in samples
    )
    # One metric a column: the preset computes each of them three times.
    report = Report([ValueDrift(column=column.name) for column in shown])
    page: str = report.run(after, before).get_html_str(as_iframe=False)
    return page


def _has_values(name: str, samples: Sequence[pd.DataFrame]) -> bool:
    return all(name in sample and sample[name].notna().any() for sample in samples)


def _plain(sample: pd.DataFrame, numbers: Sequence[str], texts: Sequence[str]) -> pd.DataFrame:
    """The columns in the two types that Evidently knows."""
    types = dict.fromkeys(numbers, "float64") | dict.fromkeys(texts, "str")
    return sample[[*numbers, *texts]].astype(types).reset_index(drop=True)
