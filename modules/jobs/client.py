"""Who asks, and whose jobs that client may see and stop.

On this machine, or with the password, everybody all jobs. Otherwise (`--listen` without a password) a program sees and
stops the jobs that came from its own address, and a window of the page its own. What the server does for itself, such
as loading a checkpoint, is nobody's and seen by all. Whoever knows the id of a job may ask for that one.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from modules.jobs.job import Job, Origin
from modules.jobs.queue import JobQueue


@dataclass(frozen=True)
class Client:
    """A program, by its address."""

    address: str
    sees_all: bool

    @classmethod
    def of(cls, address: str, *, has_password: bool) -> Client:
        """The client at `address`, "" if that is unknown. `has_password` says that it gave one."""
        return cls(address, has_password or _is_loopback(address))

    @property
    def origin(self) -> Origin:
        """Of the jobs that it asks for."""
        return Origin(address=self.address)

    def may_see(self, job: Job) -> bool:
        """Whether the job is this client's, nobody's, or all are seen."""
        asked_for = job.origin.window or job.origin.address
        return self.sees_all or not asked_for or (bool(self.address) and job.origin.address == self.address)

    def first(self, queue: JobQueue) -> Job | None:
        """The oldest running job, or else the next one, of those that it may see."""
        return next((job for job in (*queue.running(), *queue.pending()) if self.may_see(job)), None)

    def interrupt(self, queue: JobQueue) -> bool:
        """Interrupt the oldest running job that it may see. A client that may see none cancels the next one of its own.
        Returns False if there is none."""
        if self.sees_all:
            return queue.interrupt()
        job = self.first(queue)
        return job is not None and queue.interrupt(job.id)

    def skip(self, queue: JobQueue) -> bool:
        """Skip the current batch of the oldest running job that it may see. Returns False if there is none."""
        job = next(filter(self.may_see, queue.running()), None)
        return job is not None and queue.skip(job.id)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
