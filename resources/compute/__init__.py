"""Engines that run a task of the life cycle: one file a backend."""
