"""Services on this machine, each use case's behind a local port that stays."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field

from resources.deployments.base import Deployments
from resources.deployments.folder import Folder
from resources.deployments.release import Release, Status
from resources.home import home


class LocalDeployments(Deployments):
    """One supervisor a use case, in a process that outlives Dagster's.

    A service that dies is started again. With MLOPS_SERVICE_TOKEN set when the supervisor starts,
    predictions are for those who send it.
    """

    home: str = Field(
        default_factory=lambda: str(home("deployments")),
        description="Where each deployment keeps its state, logs and prediction log.",
    )
    ports: dict[str, int] = Field(
        default_factory=dict,
        description="Port by use case; by default a free one, which is kept ever after.",
    )
    standby: bool = Field(
        default=True,
        description="Keep the previous release running, so that a roll-back takes no time.",
    )
    timeout: float = Field(
        default=300.0, description="Seconds that a roll-out may take until it counts as failed."
    )

    def roll_out(self, use_case: str, release: Release) -> Status:
        self._folder(use_case).ask(
            "roll_out",
            self.timeout,
            release=release.to_json(),
            port=self.ports.get(use_case),
            standby=self.standby,
        )
        return self.status(use_case)

    def status(self, use_case: str) -> Status:
        folder = self._folder(use_case)
        state = folder.state()
        if not state:
            return Status()
        live, previous = (
            Release.from_json(state[name]) if state[name] else None for name in ("live", "previous")
        )
        alive = folder.supervised()
        orphaned = live is not None and not alive
        return Status(
            url=state["url"],
            live=live,
            previous=previous,
            ready=alive and state["ready"],
            restarts=state["restarts"],
            problem=f"nobody supervises {folder.path}" if orphaned else state["problem"],
        )

    def stop(self, use_case: str) -> None:
        folder = self._folder(use_case)
        if folder.state():
            folder.ask("stop", self.timeout)
            folder.wait_until_left(self.timeout)

    def prediction_log(self, use_case: str) -> str:
        return str(self._folder(use_case).prediction_log)

    def _folder(self, use_case: str) -> Folder:
        return Folder(Path(os.path.abspath(self.home)) / use_case)
