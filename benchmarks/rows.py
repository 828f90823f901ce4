"""A measurement and its peer's, taken in turns, so that a busy machine slows both."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Row:
    """Ours and the peer's medians in the unit that the name tells; less is better."""

    name: str
    ours: float
    peer: float
    peer_name: str
    target: float
    """The ratio that is promised at most."""

    @property
    def ratio(self) -> float:
        return self.ours / self.peer

    @property
    def met(self) -> bool:
        return self.ratio <= self.target


def in_turns(
    ours: Callable[[], float], peer: Callable[[], float], rounds: int
) -> tuple[float, float]:
    """Medians of both over so many rounds, each begun by the other, after one that warms up."""
    ours(), peer()
    found: dict[Callable[[], float], list[float]] = {ours: [], peer: []}
    for number in range(rounds):
        for one in (ours, peer) if number % 2 else (peer, ours):
            found[one].append(one())
    return median(found[ours]), median(found[peer])


def processor_seconds(code: str) -> float:
    """What a fresh interpreter takes to run the code and end; raises if it fails.

    Processor time, which is the wall clock's on an idle machine, and nearly the same on a busy one.
    """
    environment = {k: v for k, v in os.environ.items() if k not in NOT_FOR_OTHERS}
    before = _used()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=environment)
    return _used() - before


def _used() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


NOT_FOR_OTHERS = {"PYTHONDONTWRITEBYTECODE", "MLOPS_USE_CASES", "MLOPS_ENV"}
"""Without byte code every run would compile this project, which is installed in place, anew."""
