"""Deployments: somewhere services run, each use case's one behind an address that stays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from dagster import ConfigurableResource

from resources.deployments.release import DeploymentError, Release, Status


class Deployments(ConfigurableResource[Any], ABC):
    """Runs one release of each use case's service, and keeps the one before for a roll-back.

    Each verb may be killed at any line and asked again: it then ends as if it had been asked once.
    """

    @abstractmethod
    def roll_out(self, use_case: str, release: Release) -> Status:
        """Put a release in charge without losing a request; nothing happens where it is already.

        It must start and answer its golden request with the scores it was released with, or else
        what was live stays so. Raises DeploymentError saying why, TamperedError where the Bento is
        not the one that was released.
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

    @abstractmethod
    def stop(self, use_case: str) -> None:
        """End the use case's service, in order; the release that was live can be rolled back to."""

    @abstractmethod
    def prediction_log(self, use_case: str) -> str:
        """Where the use case's services write down what they answer: a directory of segments."""
