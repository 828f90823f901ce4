"""Deployments: somewhere services run, each use case's one behind an address that stays."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import Any

from dagster import ConfigurableResource

from resources import bento
from resources.deployments.release import TOKEN, DeploymentError, Release, Status


class Deployments(ConfigurableResource[Any], ABC):
    """Runs one release of each use case's service, and keeps the one before for a roll-back.

    Each verb may be killed at any line and asked again: it then ends as if it had been asked once.
    """

    @abstractmethod
    def roll_out(self, use_case: str, release: Release) -> Status:
        """Put a release in charge without losing a request; nothing happens where it is already.

        It must be the Bento that was released, start, and answer its golden request with the scores
        it was released with. Raises DeploymentError saying what is wrong; what was live stays so.
        """

    @abstractmethod
    def status(self, use_case: str) -> Status:
        """What is live, and what was before."""

    def roll_back(self, use_case: str) -> Status:
        """Put the previous release back in charge, as `roll_out` does; the two change places.

        Raises DeploymentError where there is none.
        """
        previous = self.status(use_case).previous
        if previous is None:
            raise DeploymentError(f"{use_case}: there is no earlier release to roll back to")
        return self.roll_out(use_case, previous)

    def ask_golden(self, use_case: str) -> tuple[str, list[float]]:
        """What the live address answers to the live release's golden request: version and scores.

        Raises DeploymentError where nothing is live, ServiceError where the answer is a refusal.
        """
        status = self.status(use_case)
        if status.url is None or status.live is None or not status.ready:
            raise DeploymentError(f"{use_case}: {status.problem or 'no release is live'}")
        return bento.ask(status.url, status.live.bento, token=os.environ.get(TOKEN))

    @abstractmethod
    def stop(self, use_case: str) -> None:
        """End the use case's service, in order; the release that was live can be rolled back to."""

    @abstractmethod
    def prediction_log(self, use_case: str) -> str:
        """Where the use case's services write down what they answer: a directory of segments."""
