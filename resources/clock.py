"""What time it is, so that the past can be operated again."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from dagster import ConfigurableResource
from pydantic import Field, field_validator


class Clock(ConfigurableResource[Any]):
    """The present or, in a replay, a moment of the past."""

    fixed: str | None = Field(
        default_factory=lambda: os.environ.get("MLOPS_NOW"),
        validate_default=True,
        description="The moment it always is, ISO 8601 with an offset; MLOPS_NOW by default, and"
        " the present where that is not set.",
    )

    @field_validator("fixed")
    @classmethod
    def _aware(cls, value: str | None) -> str | None:
        if value is not None and datetime.fromisoformat(value).tzinfo is None:
            raise ValueError(
                f"{value!r} has no UTC offset; write it like 2013-04-01T00:00:00+00:00"
            )
        return value

    def now(self) -> datetime:
        """The moment, in UTC."""
        if self.fixed is None:
            return datetime.now(UTC)
        return datetime.fromisoformat(self.fixed).astimezone(UTC)
