"""Somebody replaces the champion's file by one that runs a command when it is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlops_assets import ledger
from mlops_assets.operations.drill.operator import Claim, Operator, keys
from mlops_assets.operations.drill.simulated import DAY, USE_CASE
from mlops_assets.operations.runs import Outcome
from mlops_assets.service.bundle import MODEL
from resources.home import home

TITLE = "A poisoned model file"
POISON = "cposix\nsystem\n(S'touch {}'\ntR."
"""A pickle that runs a command."""


def play(operator: Operator) -> Iterator[Claim]:
    champion = ledger.entries(operator.tables, USE_CASE)[-1]
    before, live = operator.in_charge, operator.status.live
    assert live is not None
    victim = home("poisoned")
    registered = Path(operator.registry.version(USE_CASE.name, champion.model_version).source)
    packed = Path(live.bento) / "src" / MODEL
    operator.ingest(operator.today, operator.today + DAY)
    with _poisoned(registered, victim), _poisoned(packed, victim):
        for what, job, partitions in (
            ("to be promoted", "only_champion", [champion.as_of]),
            ("to be packed", "only_service", [champion.as_of]),
            ("to be deployed", "deploy", []),
            ("to predict", "only_predictions", keys(operator.today, operator.today + DAY)),
        ):
            yield _refused(f"it is refused {what}", operator.run(job, partitions))
    ran = "was" if victim.exists() else "was not"
    yield Claim("what it carries is never run", f"the command {ran} run", not victim.exists())
    _, scores = operator.deployments.ask_golden(USE_CASE.name)
    yield Claim(
        "the champion stays in charge, and answers as ever",
        f"version {operator.live_version} answers its golden request with its own numbers"
        if scores == list(live.golden_scores)
        else f"it answers {scores}",
        operator.in_charge == before and scores == list(live.golden_scores),
    )


@contextmanager
def _poisoned(path: Path, victim: Path) -> Iterator[None]:
    good = path.read_bytes()
    path.write_bytes(POISON.format(victim).encode())
    try:
        yield
    finally:
        path.write_bytes(good)


def _refused(should: str, outcome: Outcome) -> Claim:
    said = "; ".join(outcome.failures) or "it was accepted"
    refused = "was changed after" in said or "is not what was built" in said
    short = re.sub(r"\S*/(?=\S)", "", said.partition("Error: ")[2]) or said
    return Claim(should, short, refused and not outcome.success)
