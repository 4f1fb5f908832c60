"""How a request waits for its job: without holding a thread, so that progress can be asked for however many wait."""

from __future__ import annotations

import asyncio

from modules.jobs.job import Job


async def finished(job: Job) -> Job:
    """`job` when it is over. Raises its UserError. The job goes on when the client goes away, as in WebUI."""
    await asyncio.shield(asyncio.wrap_future(job.finished))
    if job.error is not None:
        raise job.error
    return job
