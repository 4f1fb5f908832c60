"""Several requests as one job: the files of a batch, or edits each of which begins with the picture of the last."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from modules.errors import Interrupted, InvalidInput, Stopped
from modules.jobs.failures import explained
from modules.jobs.job import Job
from modules.request import Txt2Img
from modules.request.job_context import JobContext, Preview, SubJob
from modules.request.result import GeneratedImage, Result

Carry = Callable[[Txt2Img, JobContext], Result]
"""Carries a request out. Raises UserError, Stopped."""


@dataclass(frozen=True)
class Step:
    """One of several steps. `make` gets the pictures of the steps with the numbers `reads`, from 0, which are earlier
    ones. It returns the request, and what carries it out (None: it is generated). It raises UserError."""

    make: Callable[[Sequence[GeneratedImage]], tuple[Txt2Img, Carry | None]]
    reads: tuple[int, ...] = ()


@dataclass(frozen=True)
class Task:
    """One file of a batch: its `name` on the screen, and a function that makes its request when it starts."""

    name: str
    make_request: Callable[[], Txt2Img]


class _TaskPart(SubJob):
    """The job as the engine sees it while task `index` of `count` runs: the task's progress counts as that part of the
    whole job's, and stages begin with the task's `name`."""

    def __init__(self, job: Job, name: str, index: int, count: int) -> None:
        super().__init__(job)
        self._name, self._index, self._count = name, index, count

    def stage(self, text: str) -> None:
        super().stage(f"{self._name}: {text}")

    def batches(self, done: int, total: int) -> None:
        super().batches(self._index * total + done, self._count * total)


class _SharedPart(_TaskPart):
    """The same where several tasks are carried out at a time. The job's progress is the sum of theirs, `shares` by
    index, which `lock` guards; its steps are those of the task that tells of one."""

    def __init__(self, job: Job, name: str, index: int, shares: list[float], lock: threading.Lock) -> None:
        super().__init__(job, name, index, len(shares))
        self._shares, self._lock = shares, lock
        self._begun = 0, 1

    def batches(self, done: int, total: int) -> None:
        self._begun = done, total
        self._share(done / total)

    def step(self, step: int, total: int, preview: Preview) -> None:
        done, batches = self._begun
        rest = self._share((done + step / total) / batches)
        if shown := min(round(rest * total), total):
            self._job.step(shown, total, preview)
        else:
            self._job.check()

    def _share(self, share: float) -> float:
        """Note the share of this task that is done. Returns what is done beside whole tasks, 0 to 1."""
        with self._lock:
            before, self._shares[self._index] = math.floor(sum(self._shares)), share
            done = sum(self._shares)
            if math.floor(done) != before and done < self._count:
                self._job.batches(math.floor(done), self._count)
            return done - math.floor(done)


def run_tasks(tasks: Sequence[Task], generate: Callable[[Txt2Img, JobContext], Result], job: Job,
              at_once: int = 1) -> Result | None:
    """Carry out the tasks with `generate`, `at_once` at a time. A task that fails becomes a warning of the result.

    Interrupt ends the job and keeps what is finished; Skip goes on with the next task. Raises InvalidInput with every
    message if no task made a picture.
    """
    shares, lock = [0.0] * len(tasks), threading.Lock()

    def carry_out(index: int) -> list[str]:
        """The warnings of a task."""
        if job.interrupted:
            return []
        task = tasks[index]
        part = _SharedPart(job, task.name, index, shares, lock) if at_once > 1 else \
            _TaskPart(job, task.name, index, len(tasks))
        part.batches(0, 1)
        try:
            part.check()
            job.request = request = task.make_request()
            result = generate(request, part)
        except Stopped:
            return []
        except Exception as error:
            return [f"{task.name}: {explained(error, job.id).message}"]
        return [f"{task.name}: {warning}" for warning in result.warnings]

    job.batches(0, len(tasks))
    with ThreadPoolExecutor(at_once, "tasks") if at_once > 1 else contextlib.nullcontext() as pool:
        told = (pool.map if pool else map)(carry_out, range(len(tasks)))
        warnings = [sentence for sentences in told for sentence in sentences]
    if warnings and not job.kept:
        raise InvalidInput(" ".join(warnings))
    return Result(tuple(job.kept), job.request, tuple(warnings), job.interrupted) if job.request else None


class _UnseenPart(_TaskPart):
    """A part whose pictures are no results of the job."""

    saves = False

    def keep(self, images: Sequence[GeneratedImage], request: Txt2Img) -> tuple[GeneratedImage, ...]:
        return tuple(images)


def run_steps(steps: Sequence[Step], generate: Callable[[Txt2Img, JobContext], Result], job: Job) -> Result:
    """Carry out `steps` one after the other. The pictures of the last are the result. The first picture of each other
    step is held until no step needs it any more. Raises UserError, Stopped."""
    made: dict[int, GeneratedImage] = {}
    last_reader = {number: index for index, step in enumerate(steps) for number in step.reads}
    for index, step in enumerate(steps):
        last = index == len(steps) - 1
        part = (_TaskPart if last else _UnseenPart)(job, f"{index + 1}/{len(steps)}", index, len(steps))
        part.batches(0, 1)
        part.check()
        job.request, carry = step.make([made[number] for number in step.reads])
        result = (carry or generate)(job.request, part)
        if last:
            return result
        if result.interrupted or not result.images:
            raise Interrupted
        made[index] = result.images[0]
        made = {number: one for number, one in made.items() if last_reader.get(number, -1) > index}
    raise InvalidInput("There is no edit to make again.")
