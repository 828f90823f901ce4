"""The service dies under load, and with it what it had in memory: no more than is stated."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil

from mlops_assets.operations.drill.operator import Claim, Operator, counted
from mlops_assets.operations.drill.simulated import USE_CASE
from mlops_assets.operations.runs import Outcome
from resources.deployments.folder import Folder
from resources.deployments.front import REQUEST_ID

if TYPE_CHECKING:
    import pandas as pd

TITLE = "The service killed under load"
CLIENTS = 2
BEFORE, AFTER = 2.0, 2.0
"""Seconds of load."""
BOUND = timedelta(seconds=1)
"""What a crash may lose: the answers of the last 0.2 s, and those of the write under way."""


@dataclass
class Load:
    """Clients that ask without a pause."""

    url: str
    row: Mapping[str, Any]
    answered: dict[str, datetime] = field(default_factory=dict)
    """When each request was answered."""
    failed: list[str] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()

    def _ask(self, client_number: int) -> None:
        number = 0
        with httpx.Client(base_url=self.url, timeout=60) as client:
            while not self._ended.is_set():
                number += 1
                name = f"drill-{client_number}-{number}"
                try:
                    answer = client.post("/predict", json=self.row, headers={REQUEST_ID: name})
                    answer.raise_for_status()
                    self.answered[name] = datetime.now(UTC)
                except httpx.HTTPError as error:
                    self.failed.append(str(error))


def play(operator: Operator) -> Iterator[Claim]:
    load = Load(operator.status.url or "", _row(operator))
    started, restarts = datetime.now(UTC), operator.status.restarts
    with load.running():
        time.sleep(BEFORE)
        killed = kill(operator)
        operator.until("the service is there again", lambda: _again(operator, restarts))
        time.sleep(AFTER)
    number = len(load.answered)
    yield Claim(
        "it is started again, and no request fails",
        f"{operator.status.restarts - restarts} restart, {number} requests answered,"
        f" {len(load.failed)} failed",
        operator.status.ready and number > 0 and not load.failed,
    )
    outcome, logged = _taken_in(operator, load, started)
    lost = {name: at for name, at in load.answered.items() if name not in logged}
    late = [name for name, at in lost.items() if not killed - BOUND <= at <= killed + BOUND / 10]
    yield Claim(
        "no answer is lost but those of the last 0.2 s and of the write under way",
        f"{counted(len(lost), 'answer')} lost, {len(late)} beyond that",
        not late,
    )
    failed = [found.check_name for found in outcome.failed_checks]
    yield Claim(
        "the prediction log has what was written, once",
        f"{len(logged)} of {number} requests; failed checks: {', '.join(failed) or 'none'}",
        outcome.success and not failed,
    )


def kill(operator: Operator) -> datetime:
    """End the live service as a crash does; returns when."""
    live = operator.status.live
    assert live is not None
    supervisor = psutil.Process(_folder(operator).supervisor())
    service = next(one for one in supervisor.children() if live.bento in one.cmdline())
    victims = [*service.children(recursive=True), service]
    for victim in victims:
        with suppress(psutil.NoSuchProcess):
            victim.kill()
    return datetime.now(UTC)


def _folder(operator: Operator) -> Folder:
    return Folder(Path(operator.deployments.home) / USE_CASE.name)


def _again(operator: Operator, restarts: int) -> bool:
    status = operator.status
    return status.restarts > restarts and status.ready


def _row(operator: Operator) -> Mapping[str, Any]:
    from mlops_assets.service import bundle

    day = max(operator.tables.partitions("drill/features"))
    rows = operator.tables.read("drill/features", [day], USE_CASE.feature_names)
    row: Mapping[str, Any] = bundle.records(rows.head(1))[0]
    return row


def _taken_in(operator: Operator, load: Load, started: datetime) -> tuple[Outcome, set[str]]:
    """Materialise the prediction log, once the last answer was written; the requests it has."""
    last = max(load.answered, key=load.answered.__getitem__)
    operator.until("the last answer is written", lambda: _written(operator, last), patience=30)
    calendar = USE_CASE.calendar
    days = calendar.keys(calendar.interval(calendar.key(started))[0], datetime.now(UTC))
    outcome = operator.run("log", days)
    rows: pd.DataFrame = operator.tables.read("drill/prediction_log", days)
    return outcome, set(rows["request_id"]) & set(load.answered)


def _written(operator: Operator, request: str) -> bool:
    folder = Path(operator.deployments.prediction_log(USE_CASE.name))
    return any(f'"{request}"' in path.read_text() for path in folder.iterdir())
