"""python -m benchmarks.placement: rules by which free workers take work, simulated.

50 checkpoints of Zipf-distributed use, one in the memory of a GPU, 3 s to change it, 1.5 s a picture. 60 % of the jobs
are txt2img of 1 or 4 pictures, 30 % inpaint of 1, 10 % grids of 9 to 100; they come by chance (Poisson). Printed are
the time in which 95 % of the small jobs are done, at 60 % and 85 % load, and the share of the time that the GPUs spend
on pictures at 150 % load, where more and more waits.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from modules.jobs.placement import choose, patient_until

CHECKPOINTS, SWAP, PICTURE, AHEAD = 50, 3.0, 1.5, 30.0
SMALL = 4
WEIGHTS = [1 / (rank + 1) for rank in range(CHECKPOINTS)]


@dataclass(eq=False)
class Gpu:
    """A `PlacedLane`. `kept` are the checkpoints in its memory, the one used last at the end."""

    number: int
    model: str = ""
    since: float = -math.inf
    swap: float = SWAP
    kept: list[str] = field(default_factory=list)

    @property
    def warm(self) -> frozenset[str]:
        return frozenset(self.kept)


@dataclass(eq=False)
class Job:
    """A `PlacedWork` of `pictures`, of which `left` wait and `made` are done."""

    model: str
    since: float
    pictures: int
    left: int
    made: int = 0
    taken: float = 0.0
    seconds: float = PICTURE

    def __post_init__(self) -> None:
        self.taken = self.since


Rule = Callable[[Gpu, Sequence[Gpu], Sequence[Gpu], Sequence[Job], float], Job | None]
"""(free GPU, all, all free ones, jobs, the oldest first, now) -> what it takes."""


def preferred(gpu: Gpu, gpus: Sequence[Gpu], free: Sequence[Gpu], jobs: Sequence[Job], now: float) -> Job | None:
    """Oldest first; of the free GPUs one that has the checkpoint."""
    return next((job for job in jobs if job.model in gpu.kept or
                 not any(job.model in other.kept for other in free)), None)


def ahead(gpu: Gpu, gpus: Sequence[Gpu], free: Sequence[Gpu], jobs: Sequence[Job], now: float) -> Job | None:
    """Oldest whose checkpoint is here, if it overtakes by `AHEAD` at most."""
    warm = next((job for job in jobs if job.model in gpu.kept), None)
    return warm if warm and warm.since - jobs[0].since <= AHEAD else preferred(gpu, gpus, free, jobs, now)


def fixed(gpu: Gpu, gpus: Sequence[Gpu], free: Sequence[Gpu], jobs: Sequence[Job], now: float) -> Job | None:
    """Each checkpoint has its GPUs."""
    count = len(gpus)
    return next((job for job in jobs if int(job.model) % count == gpu.number or
                 (count > CHECKPOINTS and gpu.number % CHECKPOINTS == int(job.model))), None)


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


def run(rule: Rule, gpus: int, jobs: Sequence[Job], kept: int = 1) -> tuple[float, float]:
    """(95th percentile of the small jobs' seconds, share of the time spent on pictures, up to 80 % of them)."""
    fleet = [Gpu(number) for number in range(gpus)]
    at_once = max(128, 8 * gpus)
    coming = list(reversed(jobs))
    waiting: list[Job] = []
    running: list[tuple[float, int, Gpu, Job, int]] = []
    free = list(fleet)
    order = itertools.count()
    took: list[float] = []
    unfinished, made, total, now, enough = 0, 0, sum(job.pictures for job in jobs), 0.0, 0.0
    while made < total:
        while coming and coming[-1].since <= now and unfinished < at_once:
            waiting.append(coming.pop())
            unfinished += 1
        for gpu in list(free):
            job = rule(gpu, fleet, free, waiting, now) if waiting else None
            if job is None:
                continue
            count = max(1, job.left // (2 * gpus))
            job.left -= count
            job.taken = now
            if not job.left:
                waiting.remove(job)
            swap = 0.0 if job.model in gpu.kept else SWAP
            if job.model != gpu.model:
                gpu.model, gpu.since = job.model, now
            gpu.kept = [*(one for one in gpu.kept if one != job.model), job.model][-kept:]
            free.remove(gpu)
            heapq.heappush(running, (now + swap + count * PICTURE, next(order), gpu, job, count))
        moments = [running[0][0]] if running else []
        if coming and unfinished < at_once:
            moments.append(max(coming[-1].since, now))
        moments += [until for job in waiting for until in [patient_until(job, fleet[0])] if until > now and free]
        now = min(moments)
        while running and running[0][0] <= now:
            _, _, gpu, job, count = heapq.heappop(running)
            free.append(gpu)
            job.made += count
            made += count
            if job.made == job.pictures:
                unfinished -= 1
                if job.pictures <= SMALL:
                    took.append(now - job.since)
        if not enough and made >= 0.8 * total:
            enough = made * PICTURE / (gpus * now)
    took.sort()
    return took[int(0.95 * len(took))], enough


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.placement", description=__doc__)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--jobs", type=int, default=1500, help="of each run; at least 20 a GPU")
    parser.add_argument("--kept", type=int, default=1, help="checkpoints in the memory of a GPU")
    chosen = parser.parse_args()
    print("| rule | GPUs | p95 s at 60 % | at 85 % | pictures' share at 150 % |\n| --- | --- | --- | --- | --- |")
    for gpus in chosen.gpus:
        count = max(chosen.jobs, 20 * gpus)
        for name, rule in RULES.items():
            times = [run(rule, gpus, jobs_of(count, load * gpus / (MEAN_PICTURES * PICTURE), random.Random(1)),
                         chosen.kept)[0] for load in (0.6, 0.85)]
            full = jobs_of(count, 1.5 * gpus / (MEAN_PICTURES * PICTURE), random.Random(2))
            share = run(rule, gpus, full, chosen.kept)[1]
            print(f"| {name} | {gpus} | {times[0]:.0f} | {times[1]:.0f} | {share:.2f} |", flush=True)


if __name__ == "__main__":
    main()
