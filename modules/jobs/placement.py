"""Who gets what: how many jobs are in flight, and which work of theirs a free worker takes next. The rule is
"stay + gain".

A worker stays with the model that it used last for a while, and changes it only where that gains something. Going by
age alone would let workers change models all the time when much waits, which halves the throughput.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

STAY = 20.0
"""How long a worker prefers the model that it used last, in times that it takes to change the model."""

PATIENCE = 5.0
"""How long work waits for those workers that have its model while they take none of it, in the same unit."""

GAIN = 2.0
"""How long those who have a model may be busy with what waits before another worker helps, in the same unit."""


class PlacedLane(Protocol):
    """A worker. It has used `model` since the time `since` ("": none yet), has the models `warm` in memory, and takes
    `swap` seconds to change to another."""

    model: str
    since: float
    warm: frozenset[str]
    swap: float


class PlacedWork(Protocol):
    """Work of a `model` that came at the time `since`; `left` batches of it wait, which take `seconds` each. The last
    were `taken` at that time: `since` while none were."""

    model: str
    since: float
    taken: float
    seconds: float

    @property
    def left(self) -> int: ...


AnyWork = TypeVar("AnyWork", bound=PlacedWork)


def in_flight(workers: int) -> int:
    """How many jobs are in flight at a time. Many more than there are workers: only what has begun can be put where its
    model is."""
    return max(128, 8 * workers)


def in_flight_of_model(workers: int) -> int:
    """How many of them may have the same model: one that each worker makes, and the next. More of them would gain
    nothing, and what is in flight cannot be put in another order any more."""
    return 2 * workers


def choose(lane: PlacedLane, lanes: Iterable[PlacedLane], works: Sequence[AnyWork], now: float) -> AnyWork | None:
    """What the free `lane`, one of `lanes`, takes of `works`, all of which it can do: the first that fits of

    1. the oldest of the model that it used last, for `STAY`;
    2. the oldest that gains by it; see `gains`.

    None: what waits is better left to those who have its model.
    """
    oldest_first = sorted((work for work in works if work.left), key=lambda work: work.since)
    if now - lane.since < STAY * lane.swap:
        for work in oldest_first:
            if work.model == lane.model:
                return work
    holders = collections.Counter(model for one in lanes for model in {one.model, *one.warm})
    return next((work for work in oldest_first if gains(work, lane, holders[work.model], now)), None)


def gains(work: PlacedWork, lane: PlacedLane, holders: int, now: float) -> bool:
    """Whether `work` gains by being done by `lane`: its model is here or nowhere, its `holders`, the workers that have
    it, do something else, or they are busy with it for long."""
    if work.model == lane.model or work.model in lane.warm:
        return True
    return not holders or now >= patient_until(work, lane) or work.left * work.seconds / holders > GAIN * lane.swap


def patient_until(work: PlacedWork, lane: PlacedLane) -> float:
    """The time from which `lane` takes `work` whoever has its model."""
    return work.taken + PATIENCE * lane.swap
