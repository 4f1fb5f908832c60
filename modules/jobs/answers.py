"""Work in the queue for somebody who waits for its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from modules.errors import UserError
from modules.jobs.job import Job
from modules.jobs.queue import JobQueue

Answer = TypeVar("Answer")


def answer(queue: JobQueue, work: Callable[[Job], Answer], *, interrupted: UserError, nbytes: int = 0) -> Answer:
    """What `work` returns, which runs as by `JobQueue.submit_work`.

    Raises as that, what the work raises, and `interrupted` if it was stopped before its end.
    """
    answers: list[Answer] = []
    job = queue.submit_work(lambda job: answers.append(work(job)), nbytes=nbytes)
    job.wait()
    if job.error is not None:
        raise job.error
    if not answers:
        raise interrupted
    return answers[0]
