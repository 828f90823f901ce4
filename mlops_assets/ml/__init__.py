"""Shared mathematics: frames, arrays and dataclasses in and out; no Dagster, no I/O."""
