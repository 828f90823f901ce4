"""Drift: a profile of the reference, and a calibrated comparison of a window with it."""

from mlops_assets.ml.drift.comparison import Bar, Drift, Finding, compare, distribution
from mlops_assets.ml.drift.profile import Profile, Unseen, profile

__all__ = [
    "Bar",
    "Drift",
    "Finding",
    "Profile",
    "Unseen",
    "compare",
    "distribution",
    "profile",
]
