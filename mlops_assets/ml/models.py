"""Models as bytes that are the same for the same model, and as scores."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

TRUSTED = frozenset(
    {
        "collections.OrderedDict",
        "numpy.dtype",
        "numpy.random._mt19937.MT19937",
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.link.IdentityLink",
        "sklearn._loss.loss.HalfBinomialLoss",
        "sklearn._loss.loss.HalfSquaredError",
        "sklearn.compose._column_transformer._RemainderColsList",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.tree._tree.Tree",
    }
)
"""Types besides skops' own list that a model file may hold; each only carries data."""

_EPOCH = (1980, 1, 1, 0, 0, 0)


class UntrustedModelError(RuntimeError):
    """A model file holds types that are not on our list."""


def dump(model: Any) -> bytes:
    """The fitted model as a skops file: equal models give equal bytes.

    skops names objects by their address in memory and dates the entries of its archive; here they
    are numbered in the order in which they appear, and undated.
    """
    import skops.io

    names = zipfile.ZipFile(io.BytesIO(skops.io.dumps(model)))
    schema = json.loads(names.read("schema.json"))
    numbers: dict[Any, int] = {}
    files: dict[str, str] = {}
    _number(schema, numbers, files)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("schema.json", _EPOCH), json.dumps(schema, indent=1))
        for old, new in files.items():
            archive.writestr(zipfile.ZipInfo(new, _EPOCH), names.read(old))
    return target.getvalue()


def load(data: bytes) -> Any:
    """The model of a skops file; verify the file's hash before.

    Raises UntrustedModelError naming the types that are not on our list.
    """
    import skops.io

    untrusted = set(skops.io.get_untrusted_types(data=data)) - TRUSTED
    if untrusted:
        raise UntrustedModelError(
            f"the model holds {', '.join(sorted(untrusted))}; add the type to"
            " mlops_assets.ml.models.TRUSTED once you have made sure that it only carries data"
        )
    return skops.io.loads(data, trusted=sorted(TRUSTED))


def score(model: Any, features: pd.DataFrame) -> np.ndarray:
    """Probability of the positive class, or the predicted value, for each row: float64."""
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(features)[:, 1], dtype="float64")
    return np.asarray(model.predict(features), dtype="float64")


def _number(node: Any, numbers: dict[Any, int], files: dict[str, str]) -> None:
    """Replace addresses by order of appearance, in place."""
    if isinstance(node, dict):
        if "__id__" in node:
            node["__id__"] = numbers.setdefault(node["__id__"], len(numbers))
        if isinstance(node.get("file"), str):
            old = node["file"]
            suffix = old[old.rindex(".") :]
            node["file"] = files.setdefault(old, f"{len(files)}{suffix}")
        for value in node.values():
            _number(value, numbers, files)
    elif isinstance(node, list):
        for value in node:
            _number(value, numbers, files)
