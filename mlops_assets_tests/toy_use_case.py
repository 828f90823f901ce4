"""Where MLOPS_USE_CASES finds the toy."""

from mlops_assets_tests.toy import TOY as USE_CASE

__all__ = ["USE_CASE"]
