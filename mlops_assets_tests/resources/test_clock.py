"""It is now, unless a moment is set."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from resources.clock import Clock

MOMENT = "2024-04-22T06:00:00+00:00"


def test_the_environment_sets_it_for_all_processes(monkeypatch):
    monkeypatch.setenv("MLOPS_NOW", MOMENT)
    assert Clock().now() == datetime.fromisoformat(MOMENT)
    monkeypatch.delenv("MLOPS_NOW")
    before = datetime.now(UTC)
    assert before <= Clock().now() <= datetime.now(UTC)


@pytest.mark.parametrize("moment", ["yesterday", "2024-04-22T06:00:00"])
def test_a_moment_that_is_none_is_refused(monkeypatch, moment):
    monkeypatch.setenv("MLOPS_NOW", moment)
    with pytest.raises(ValueError, match=moment):
        Clock()
