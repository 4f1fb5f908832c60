"""Several requests as one job: the files of a batch, or edits each of which begins with the picture of the last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from modules.errors import Interrupted, InvalidInput, Skipped, Stopped
from modules.jobs.failures import explained
from modules.jobs.job import Job
from modules.request import Txt2Img
from modules.request.job_context import JobContext, SubJob
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


def run_tasks(tasks: Sequence[Task], generate: Callable[[Txt2Img, JobContext], Result],
              job: Job) -> Result | None:
    """Carry out the tasks one after the other with `generate`. A task that fails becomes a warning of the result.

    Interrupt ends the job and keeps what is finished; Skip goes on with the next task. Raises InvalidInput with every
    message if no task made a picture.
    """
    warnings: list[str] = []
    for index, task in enumerate(tasks):
        part = _TaskPart(job, task.name, index, len(tasks))
        part.batches(0, 1)
        try:
            part.check()
            job.request = task.make_request()
            result = generate(job.request, part)
        except Skipped:
            continue
        except Stopped:
            break
        except Exception as error:
            warnings.append(f"{task.name}: {explained(error, job.id).message}")
            continue
        warnings += [f"{task.name}: {warning}" for warning in result.warnings]
        if job.interrupted:
            break
    if warnings and not job.kept:
        raise InvalidInput(" ".join(warnings))
    return Result(tuple(job.kept), job.request, tuple(warnings), job.interrupted) if job.request else None


class _UnseenPart(_TaskPart):
    """A part whose pictures are no results of the job."""

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
