"""Tests have homes of their own, whatever the environment they are started in says."""

import os

for name in [name for name in os.environ if name.startswith("MLOPS_") or name == "DAGSTER_HOME"]:
    if not name.startswith("MLOPS_TEST_"):
        del os.environ[name]
