"""Models as bytes that are the same for the same model, and as scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def dump(model: Any) -> bytes:
    """The fitted model as a skops file: equal models give equal bytes."""
    raise NotImplementedError


def load(data: bytes) -> Any:
    """The model of a skops file made of types we trust; verify its hash before.

    Raises UntrustedModelError naming the types that are not on our list.
    """
    raise NotImplementedError


def score(model: Any, features: pd.DataFrame) -> np.ndarray:
    """Probability of the positive class, or the predicted value, for each row: float64."""
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(features)[:, 1], dtype="float64")
    return np.asarray(model.predict(features), dtype="float64")
