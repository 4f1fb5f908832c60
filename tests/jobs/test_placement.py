"""The rule by which free workers take work: by table, and over any course of events."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.jobs.placement import PATIENCE, STAY, choose, gains, patient_until

SWAP = 3.0


@dataclass
class Lane:
    model: str = ""
    since: float = -math.inf
    warm: frozenset[str] = frozenset()
    swap: float = SWAP
    free_at: float = 0.0


@dataclass
class Work:
    model: str
    since: float
    left: int = 1
    seconds: float = 1.5
    begun: list[float] = field(default_factory=list)
    taken: float = 0.0

    def __post_init__(self) -> None:
        self.taken = self.taken or self.since


NOW = 1000.0
NEW = NOW - 1
OLD = NOW - PATIENCE * SWAP - 1
SERVED_SHORT, SERVED_LONG = NOW - STAY * SWAP + 1, NOW - STAY * SWAP - 1


@pytest.mark.parametrize(("mine", "others", "works", "taken"), [
    # its own model first, though another has waited for longer
    (Lane("a", SERVED_SHORT), [Lane("b")], [Work("b", OLD), Work("a", NEW)], "a"),
    # but not for ever
    (Lane("a", SERVED_LONG), [Lane("b")], [Work("b", OLD), Work("a", NEW)], "b"),
    # nobody has it
    (Lane("a", SERVED_SHORT), [Lane("a")], [Work("b", NEW)], "b"),
    # somebody has it, and it has only just come
    (Lane("a", SERVED_SHORT), [Lane("b")], [Work("b", NEW)], None),
    # somebody has it in memory
    (Lane("a", SERVED_SHORT), [Lane("c", warm=frozenset("b"))], [Work("b", NEW)], None),
    # it is in this one's memory
    (Lane("a", SERVED_SHORT, frozenset("b")), [Lane("b")], [Work("b", NEW)], "b"),
    # somebody has it, but it has waited
    (Lane("a", SERVED_SHORT), [Lane("b")], [Work("b", OLD)], "b"),
    # somebody has it, and it is only slow
    (Lane("a", SERVED_SHORT), [Lane("b")], [Work("b", OLD, taken=NEW)], None),
    # somebody has it, but there is much of it
    (Lane("a", SERVED_SHORT), [Lane("b")], [Work("b", NEW, left=5)], "b"),
    # which two of them would soon have done
    (Lane("a", SERVED_SHORT), [Lane("b"), Lane("b")], [Work("b", NEW, left=5)], None),
    # of what gains the oldest
    (Lane("a", SERVED_LONG), [], [Work("c", NEW), Work("b", NEW - 1)], "b"),
    # nothing waits
    (Lane("a"), [Lane("b")], [Work("b", OLD, left=0)], None)])
def test_who_gets_what(mine: Lane, others: list[Lane], works: list[Work], taken: str | None) -> None:
    found = choose(mine, [mine, *others], works, NOW)
    assert (found.model if found else None) == taken


def holders(work: Work, lanes: list[Lane]) -> int:
    return sum(work.model == lane.model or work.model in lane.warm for lane in lanes)


works = st.builds(Work, model=st.sampled_from("abcd"), since=st.floats(0, 60), left=st.integers(1, 12),
                  seconds=st.floats(0.1, 5))


@given(lanes=st.integers(1, 4), kept=st.integers(1, 3), works=st.lists(works, min_size=1, max_size=12))
def test_no_work_starves_and_no_worker_is_idle_beside_what_it_would_take(lanes: int, kept: int,
                                                                        works: list[Work]) -> None:
    """A run of workers that take one batch at a time: all of it is done, what is left is what the rule leaves, and
    work that has waited for its patience is only behind what is as old or the worker's own."""
    crew = [Lane() for _ in range(lanes)]
    now, total = 0.0, sum(work.left for work in works)
    memory: dict[int, list[str]] = {number: [] for number in range(lanes)}
    for _ in range(20 * total + 200):
        if not any(work.left for work in works):
            break
        came = [work for work in works if work.since <= now and work.left]
        for number, lane in enumerate(crew):
            if lane.free_at > now:
                continue
            work = choose(lane, crew, came, now)
            if work is None:
                assert not any(gains(one, lane, holders(one, crew), now) or (one.model == lane.model)
                               for one in came if one.left)
                continue
            for other in came:
                if other.left and other.since < work.since and now >= patient_until(other, lane):
                    assert work.model == lane.model
                    assert now - lane.since < STAY * lane.swap
            swaps = work.model not in memory[number]
            if work.model != lane.model:
                lane.model, lane.since = work.model, now
            memory[number] = [*(one for one in memory[number] if one != work.model), work.model][-kept:]
            lane.warm = frozenset(memory[number])
            work.left -= 1
            work.taken = now
            work.begun.append(now)
            lane.free_at = now + work.seconds + SWAP * swaps
        moments = [lane.free_at for lane in crew] + [work.since for work in works] + \
                  [patient_until(work, lane) for work in came for lane in crew]
        now = min((one for one in moments if one > now), default=now)
    assert not any(work.left for work in works)
    assert sum(len(work.begun) for work in works) == total
