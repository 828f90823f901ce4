"""Drift: a profile of the reference, and a calibrated comparison of a window with it."""

from mlops_assets.ml.drift.comparison import Drift, Finding, compare
from mlops_assets.ml.drift.profile import Profile, Unseen, profile

__all__ = ["Drift", "Finding", "Profile", "Unseen", "compare", "profile"]
