"""When to retrain: one decision about one cause, from what is known at that moment.

A failed check of drift or performance asks for a training unless something speaks against it. A
model that no check complains of ages all the same, too slowly for any one week to show, and is
trained again when it is `max_age` old. All is measured in the age of trainings, from one as-of time
to the next, so the same policy decides about the present and, in a replay, about the past; nothing
depends on a data set's size, metrics or rates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

CauseKind = Literal["drift", "performance", "age", "manual", "schedule"]
AUTOMATIC: tuple[CauseKind, ...] = ("drift", "performance", "age")
"""Causes found by watching. People and schedules are obeyed unless a training is impossible."""


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """How eagerly a model is retrained."""

    cooldown: timedelta = timedelta(weeks=2)
    """How long a new champion is left alone, whatever is found."""
    pause: timedelta = timedelta(weeks=1)
    """The same after a training that kept the old champion, with which checks go on failing."""
    max_age: timedelta | None = timedelta(weeks=4)
    """When to train again although nothing failed; None: never."""
    daily_budget: int = 1
    """Trainings that watching may start within 24 hours."""
    attempts: int = 3
    """How often a training is tried before its failure is raised."""


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Why a decision is asked for. The same cause always has the same `id`."""

    id: str
    kind: CauseKind
    at: datetime
    """When it arose."""
    text: str
    """What was found or wished, for people."""
    week: str = ""
    """The week that was watched; none for wishes and schedules."""
    until: datetime | None = None
    """The end of that week: a model trained as of then, or later, has seen all of it."""
    recovered: bool = False
    """Whether the same check was asked again about that week, and passed."""


@dataclass(frozen=True, kw_only=True)
class State:
    """What is known when a decision is taken."""

    as_of: datetime | None
    """The latest time as of which there are data to train on; None: there are none."""
    labels_until: datetime | None
    """Until when the truth is known."""
    labels_needed: datetime | None
    """Until when it should be known for a training as of `as_of`."""
    trained_as_of: datetime | None
    """Of the latest training, under way or ended, unless it failed."""
    champion_as_of: datetime | None
    """Of the training that made the champion."""
    in_flight: str | None
    """The decision whose training is under way."""
    started_today: int
    """Trainings that watching started within the last 24 hours."""

    @property
    def age(self) -> timedelta | None:
        """From the latest training to the one that could be made now."""
        if self.as_of is None or self.trained_as_of is None:
            return None
        return self.as_of - self.trained_as_of


@dataclass(frozen=True, kw_only=True)
class Decision:
    """To retrain, or why not."""

    decision: Literal["retrain", "skip"]
    reason: str
    cause: CauseKind
    as_of: datetime | None


def decide(cause: Cause, state: State, settings: Retraining) -> Decision:
    """Retrain, unless something speaks against it; the first such reason is given."""
    against = next(_against(cause, state, settings), None)
    return Decision(
        decision="skip" if against else "retrain",
        reason=against or _for(cause, state),
        cause=cause.kind,
        as_of=state.as_of,
    )


def overdue(state: State, settings: Retraining) -> bool:
    """Whether the latest training is so old that there should be another without any alarm."""
    age = state.age
    return age is not None and settings.max_age is not None and age >= settings.max_age


def _against(cause: Cause, state: State, settings: Retraining) -> Iterator[str]:
    """Reasons not to retrain, the most telling first."""
    automatic = cause.kind in AUTOMATIC
    if automatic:
        yield from _settled(cause, state)
    if state.in_flight is not None:
        yield f"one in flight: {state.in_flight}"
    yield from _untrainable(state)
    if automatic:
        yield from _too_soon(state, settings)
        if state.started_today >= settings.daily_budget:
            yield f"daily budget: {state.started_today} of {settings.daily_budget} are spent"


def _settled(cause: Cause, state: State) -> Iterator[str]:
    """The cause has gone, or a training knows of it already."""
    if cause.recovered:
        yield "recovered: the same check of the same week has passed since"
    if cause.until and state.trained_as_of and cause.until <= state.trained_as_of:
        by = f", {state.in_flight}," if state.in_flight else ""
        yield f"same cause: the training as of {state.trained_as_of:%Y-%m-%d}{by} knows that week"


def _untrainable(state: State) -> Iterator[str]:
    if state.as_of is None or state.labels_needed is None:
        yield "no data to train on"
    elif state.labels_until is None:
        yield "labels not matured: none is known"
    elif state.labels_until < state.labels_needed:
        yield (
            f"labels not matured: known until {state.labels_until:%Y-%m-%d}, a training as of"
            f" {state.as_of:%Y-%m-%d} needs them until {state.labels_needed:%Y-%m-%d}"
        )


def _too_soon(state: State, settings: Retraining) -> Iterator[str]:
    age = state.age
    if age is None or state.trained_as_of is None:
        return
    promoted = state.trained_as_of == state.champion_as_of
    wait = settings.cooldown if promoted else settings.pause
    if age <= timedelta(0):
        yield f"nothing new since the last training, as of {state.trained_as_of:%Y-%m-%d}"
    elif age < wait:
        which = "the champion" if promoted else "the last training, which changed nothing,"
        yield (
            f"cooldown: {which} is {age.days} days old (as of {state.trained_as_of:%Y-%m-%d}),"
            f" {wait.days} are waited"
        )


def _for(cause: Cause, state: State) -> str:
    if cause.kind not in AUTOMATIC or state.age is None:
        return cause.text
    return f"{cause.text}; the last training is {state.age.days} days old"
