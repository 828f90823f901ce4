"""Gate rules: what a candidate must prove, beyond noise, before it may be promoted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlops_assets.ml.metrics import METRICS

Opponent = Literal["champion", "dummy", "absolute"]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One promise of a gate, judged on held-out rows; each rule becomes one asset check.

    Against "champion" or "dummy", `threshold` is the least gain, counted so that more is better,
    that the lower end of the one-sided paired-bootstrap interval must exceed: 0 demands an
    improvement, a negative number forgives a loss of that size (non-inferiority). Against
    "absolute", `threshold` is the worst value of the metric that the interval may reach.
    With `slice` the rule holds in every group of that slice with at least `min_rows` rows.
    """

    metric: str
    against: Opponent
    threshold: float = 0.0
    slice: str | None = None
    min_rows: int = 200
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"metric: {self.metric!r} is none of {', '.join(sorted(METRICS))}")
        if self.against not in ("champion", "dummy", "absolute"):
            raise ValueError(f"against: {self.against!r} is none of champion, dummy, absolute")
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"confidence: {self.confidence} is not in [0.5, 1)")

    @property
    def name(self) -> str:
        """The rule as an asset check's name, e.g. `gate_log_loss_vs_champion_by_carrier`."""
        name = f"gate_{self.metric}_vs_{self.against}"
        return f"{name}_by_{self.slice}" if self.slice else name
