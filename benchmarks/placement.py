"""python -m benchmarks placement: rules by which free workers take work, simulated.

50 checkpoints of Zipf-distributed use, one in the memory of a GPU, 3 s to change it, 1.5 s a picture. 60 % of the jobs
are txt2img of 1 or 4 pictures, 30 % inpaint of 1, 10 % grids of 9 to 100; they come by chance (Poisson). Printed are
the time in which 95 % of the small jobs are done, at 60 % and 85 % load, and the share of the time that the GPUs spend
on pictures at 150 % load, where more and more waits.
"""

from __future__ import annotations

import collections
import heapq
import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.timing import Row
from modules.jobs.placement import choose, in_flight, in_flight_of_model, patient_until

CHECKPOINTS, SWAP, PICTURE, AHEAD = 50, 3.0, 1.5, 30.0
JOBS, JOBS_A_GPU = 1500, 20
"""Of each run, at least."""

LEAST_SHARE = 0.88
"""What the program's rule must keep for pictures when more and more waits."""

SMALL = 4
WEIGHTS = [1 / (rank + 1) for rank in range(CHECKPOINTS)]


@dataclass(eq=False)
class Gpu:
    """A `PlacedLane` with one checkpoint in its memory."""

    number: int
    model: str = ""
    since: float = -math.inf
    warm: frozenset[str] = frozenset()
    swap: float = SWAP


@dataclass(eq=False)
class Job:
    """A `PlacedWork` of `pictures`, of which `left` wait and `made` are done. It `came` before it was in flight, which
    it is `since`."""

    model: str
    came: float
    pictures: int
    left: int
    made: int = 0
    since: float = 0.0
    taken: float = 0.0
    seconds: float = PICTURE


Rule = Callable[[Gpu, Sequence[Gpu], Sequence[Gpu], Sequence[Job], float], Job | None]
"""(free GPU, all, all free ones, jobs in flight, the oldest first, now) -> what it takes."""


def preferred(gpu: Gpu, gpus: Sequence[Gpu], free: Sequence[Gpu], jobs: Sequence[Job], now: float) -> Job | None:
    """Oldest first; of the free GPUs one that has the checkpoint."""
    there = {other.model for other in free}
    return next((job for job in jobs if job.model == gpu.model or job.model not in there), None)


def ahead(gpu: Gpu, gpus: Sequence[Gpu], free: Sequence[Gpu], jobs: Sequence[Job], now: float) -> Job | None:
    """Oldest whose checkpoint is here, if it overtakes by `AHEAD` at most."""
    warm = next((job for job in jobs if job.model == gpu.model), None)
    return warm if warm and warm.since - jobs[0].since <= AHEAD else preferred(gpu, gpus, free, jobs, now)


def fixed(gpu: Gpu, gpus: Sequence[Gpu], free: Sequence[Gpu], jobs: Sequence[Job], now: float) -> Job | None:
    """Each checkpoint has its GPUs."""
    return next((job for job in jobs if int(job.model) % len(gpus) == gpu.number % CHECKPOINTS), None)


def stay_and_gain(gpu: Gpu, gpus: Sequence[Gpu], free: Sequence[Gpu], jobs: Sequence[Job], now: float) -> Job | None:
    """What the program does."""
    return choose(gpu, gpus, jobs, now)


RULES: dict[str, Rule] = {"oldest first, warm GPU preferred": preferred, "oldest warm first, 30 s ahead at most": ahead,
                          "fixed GPUs for each checkpoint": fixed, "stay + gain": stay_and_gain}


def jobs_of(count: int, rate: float, rng: random.Random) -> list[Job]:
    """Jobs that come `rate` a second."""
    now, found = 0.0, []
    for _ in range(count):
        now += rng.expovariate(rate)
        kind = rng.random()
        pictures = rng.choice((1, 4)) if kind < 0.6 else 1 if kind < 0.9 else rng.randint(9, 100)
        (model,) = rng.choices(range(CHECKPOINTS), WEIGHTS)
        found.append(Job(str(model), now, pictures, pictures))
    return found


MEAN_PICTURES = 0.6 * 2.5 + 0.3 + 0.1 * 54.5


def simulated(rule: Rule, gpus: int, jobs: Sequence[Job]) -> tuple[float, float]:
    """(95th percentile of the small jobs' seconds, share of the time spent on pictures, up to 80 % of them)."""
    fleet = [Gpu(number) for number in range(gpus)]
    free = list(fleet)
    coming = collections.deque(jobs)
    queued: list[Job] = []
    in_flight_of: collections.Counter[str] = collections.Counter()
    waiting: list[Job] = []
    running: list[tuple[float, int, Gpu, Job, int]] = []
    order = itertools.count()
    took: list[float] = []
    made, total, now, share = 0, sum(job.pictures for job in jobs), 0.0, 0.0
    while made < total:
        while coming and coming[0].came <= now:
            queued.append(coming.popleft())
        for job in list(queued) if in_flight_of.total() < in_flight(gpus) else ():
            if in_flight_of.total() < in_flight(gpus) and in_flight_of[job.model] < in_flight_of_model(gpus):
                queued.remove(job)
                waiting.append(job)
                job.since = job.taken = now
                in_flight_of[job.model] += 1
        declined: set[object] = set()  # what one GPU leaves, those like it leave, too
        for gpu in list(free) if waiting else ():
            like = gpu.number % CHECKPOINTS if rule is fixed else gpu.model
            taken = rule(gpu, fleet, free, waiting, now) if waiting and like not in declined else None
            if taken is None:
                declined.add(like)
                continue
            count = max(1, taken.left // (2 * gpus))
            taken.left -= count
            taken.taken = now
            if not taken.left:
                waiting.remove(taken)
            swap = 0.0
            if taken.model != gpu.model:
                gpu.model, gpu.since, swap = taken.model, now, SWAP
                gpu.warm = frozenset([taken.model])
                declined.clear()
            free.remove(gpu)
            heapq.heappush(running, (now + swap + count * PICTURE, next(order), gpu, taken, count))
        moments = [running[0][0]] if running else []
        moments += [coming[0].came] if coming else []
        moments += [until for job in waiting for until in [patient_until(job, fleet[0])] if until > now and free]
        now = min(moments)
        while running and running[0][0] <= now:
            _, _, gpu, job, count = heapq.heappop(running)
            free.append(gpu)
            job.made += count
            made += count
            if job.made == job.pictures:
                in_flight_of[job.model] -= 1
                if job.pictures <= SMALL:
                    took.append(now - job.came)
        if not share and made >= 0.8 * total:
            share = made * PICTURE / (gpus * now)
    took.sort()
    return took[int(0.95 * len(took))], share


def run(gpus: Sequence[int]) -> list[Row]:
    """Print the table of all rules for each number of `gpus`. Returns what a GPU takes for a picture, and may take."""
    print("| rule | GPUs | p95 s at 60 % | at 85 % | pictures' share at 150 % |\n| --- | --- | --- | --- | --- |")
    rows = []
    for count in gpus:
        arrivals = count / (MEAN_PICTURES * PICTURE)  # a second, at full load
        for name, rule in RULES.items():
            coming = [jobs_of(max(JOBS, JOBS_A_GPU * count), load * arrivals, random.Random(seed))
                      for seed, load in ((1, 0.6), (1, 0.85), (2, 1.5))]
            (low, _), (high, _), (_, share) = (simulated(rule, count, jobs) for jobs in coming)
            print(f"| {name} | {count} | {low:.0f} | {high:.0f} | {share:.2f} |", flush=True)
        rows.append(Row(f"A picture of {PICTURE} s when more and more waits, {count} GPUs", PICTURE / share,
                        PICTURE / LEAST_SHARE, "a limit", "s", 1.0))
    return rows
