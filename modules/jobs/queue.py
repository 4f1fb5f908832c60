"""The job queue: its threads carry out the requests of the page and the HTTP API. Usually there is one, which owns the
model; where workers make the pictures (`modules.jobs.workers`), several jobs run at a time.

A job runs whether or not anybody watches it. Closing a tab or a connection does not stop it; only `interrupt` and
`skip` do. A finished job can be found by its id until newer jobs push it out.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Protocol

from modules.base.heap import give_back
from modules.errors import InvalidInput, Stopped, UserError
from modules.jobs.failures import explained
from modules.jobs.job import NOBODY, Clock, Job, Origin, Save, State
from modules.jobs.recordings import Recordings
from modules.jobs.tasks import Step, Task, run_steps, run_tasks
from modules.request import Img2Img, Inpaint, Txt2Img
from modules.request.job_context import JobContext
from modules.request.options import Options
from modules.request.result import Result

KEPT_JOBS = 50
KEPT_BYTES = 512 * 2**20
WAITING_BYTES = 512 * 2**20
"""The most memory that the pictures of all waiting jobs may take."""


class QueueFull(UserError):
    """Too many jobs are waiting, or the server is stopping."""

    status = 503


class ServerStopping(UserError):
    """The program ends before the job does."""

    status = 503


class Worker(Protocol):
    """What the queue needs of the engine."""

    def generate(self, request: Txt2Img, job: JobContext, /) -> Result: ...

    def remove(self, request: Txt2Img, job: JobContext, /) -> Result: ...

    def warm(self, options: Options, job: JobContext, /) -> None: ...


class JobQueue:
    """Runs jobs first in, first out, `at_once` of them at a time, in daemon threads. Those that give way come last.

    Jobs that use models of this process itself, which are all but those of requests and loads, run one at a time. Of
    requests with the same checkpoint `alike` run at a time. What stands behind such a job may overtake it then.

    `save` is called for each picture of a job that saves. At most `limit` jobs may wait. Finished jobs are kept up to
    `KEPT_JOBS` jobs and `KEPT_BYTES` of pictures; the newest is always kept. `recordings` keeps the steps of jobs that
    record them.
    """

    def __init__(self, engine: Worker, save: Save, *, recordings: Recordings | None = None, limit: int = 100,
                 at_once: int = 1, alike: float = math.inf, clock: Clock = time.monotonic) -> None:
        self._engine, self._save, self._limit, self._clock = engine, save, limit, clock
        self.recordings = recordings
        self._record = recordings.new if recordings else None
        self._jobs: dict[str, Job] = {}
        self._waiting: collections.deque[Job] = collections.deque()
        self._running: list[Job] = []
        self._alike = alike
        self._tasks_at_once = max(1, at_once // 4)  # a task has its pictures in memory
        self._closed = False
        self._lock = threading.Condition()
        self._threads = [threading.Thread(target=self._work, name=f"jobs {number}", daemon=True)
                         for number in range(at_once)]
        for thread in self._threads:
            thread.start()

    def submit(self, request: Txt2Img, *, job_id: str | None = None, save: bool | None = None,
               unpack: Callable[[Txt2Img], Txt2Img] | None = None, remove: bool = False, gives_way: bool = False,
               origin: Origin = NOBODY) -> Job:
        """Put a request at the end of the queue. `save` decides whether its pictures are saved; by default its options
        do. With `remove` what the mask of an `Inpaint` paints over is removed, and nothing generated. For `gives_way`
        see `Job`.

        A request whose pictures are packed needs `unpack`, which is called when its turn comes. Before and after that
        the packed pictures are held. Raises QueueFull, and InvalidInput for an id that is in use.
        """
        save = request.options.samples_save if save is None else save

        carry_out = self._engine.remove if remove else self._engine.generate

        def work(job: Job) -> Result:
            if unpack is None:
                return carry_out(request, job)
            result = carry_out(unpack(request), job)
            return dataclasses.replace(result, request=_with_pictures_of(request, result.request))

        return self._add(Job(job_id or uuid.uuid4().hex, work, request=request, save=self._save if save else None,
                             record=self._record, alone=remove, gives_way=gives_way, origin=origin,
                             clock=self._clock))

    def submit_tasks(self, tasks: Sequence[Task], *, save: bool = True, origin: Origin = NOBODY) -> Job:
        """Carry out `tasks` as one job. A task that fails becomes a warning of the result, and the others go on.

        Raises as `submit`.
        """
        def work(job: Job) -> Result | None:
            return run_tasks(tasks, self._engine.generate, job, self._tasks_at_once)

        return self._add(Job(uuid.uuid4().hex, work, save=self._save if save else None, record=self._record,
                             origin=origin, clock=self._clock))

    def submit_steps(self, steps: Sequence[Step], *, save: bool = True, origin: Origin = NOBODY) -> Job:
        """Carry out `steps`, each with pictures of those before, as one job. The last one's pictures are its result.

        Raises as `submit`.
        """
        def work(job: Job) -> Result:
            return run_steps(steps, self._engine.generate, job)

        return self._add(Job(uuid.uuid4().hex, work, save=self._save if save else None, record=self._record,
                             alone=True, origin=origin, clock=self._clock))

    def submit_load(self, options: Options) -> Job:
        """Load the model that `options` name, as a job of its own. Raises QueueFull."""
        def load(job: Job) -> None:
            self._engine.warm(options, job)

        return self._add(Job(uuid.uuid4().hex, load, origin=Origin(name="Loading a checkpoint"), clock=self._clock))

    def submit_work(self, work: Callable[[Job], None], *, job_id: str | None = None, nbytes: int = 0,
                    origin: Origin = NOBODY) -> Job:
        """Run `work` in a thread of the queue as a job: for anything else that needs the model or the device.

        `nbytes` is the memory that it holds meanwhile. Raises as `submit`.
        """
        return self._add(Job(job_id or uuid.uuid4().hex, work, nbytes=nbytes, alone=True, origin=origin,
                             clock=self._clock))

    def get(self, job_id: str) -> Job | None:
        """The job of that id. None if it is unknown or no longer kept."""
        with self._lock:
            return self._jobs.get(job_id)

    @property
    def current(self) -> Job | None:
        """The running job, the oldest of several, or None."""
        with self._lock:
            return self._running[0] if self._running else None

    def running(self) -> list[Job]:
        """The running jobs, the oldest first."""
        with self._lock:
            return list(self._running)

    def pending(self) -> list[Job]:
        """The waiting jobs, the next one first."""
        with self._lock:
            return list(self._waiting)

    def of(self, window: str, tab: str) -> list[Job]:
        """The jobs that a window has asked for in a tab and that are still kept, the oldest first."""
        with self._lock:
            return [job for job in self._jobs.values() if window and job.origin.window == window
                    and job.origin.tab == tab]

    def move(self, job_id: str, places: int) -> bool:
        """Move a waiting job by `places`, forward if that is negative. Returns False if it does not wait."""
        with self._lock:
            at = next((at for at, job in enumerate(self._waiting) if job.id == job_id), None)
            if at is None:
                return False
            job = self._waiting[at]
            del self._waiting[at]
            self._waiting.insert(max(0, at + places), job)
            self._renumber()
            return True

    def interrupt(self, job_id: str | None = None) -> bool:
        """Interrupt a job, by default the oldest running one. A waiting job is cancelled. Returns False if there is no
        such job or it is over."""
        with self._lock:
            job = self._jobs.get(job_id) if job_id else self.current
            if job is None or job.over:
                return False
            job.interrupt()
            if job in self._waiting:
                self._waiting.remove(job)
                job.finish("interrupted")
                self._renumber()
            return True

    def skip(self, job_id: str | None = None) -> bool:
        """Skip the current batch of a running job, by default the oldest one. Returns False if there is none, or
        `job_id` does not run."""
        with self._lock:
            job = self._jobs.get(job_id) if job_id else self.current
            if job is None or job not in self._running:
                return False
            job.skip()
            return True

    def stop(self) -> None:
        """Accept nothing more and end all jobs at once, with ServerStopping and the pictures finished so far.

        A job may still be in the middle of a step; nobody waits for it.
        """
        with self._lock:
            self._closed = True
            for job in (*self._running, *self._waiting):
                job.interrupt()
                kept = Result(tuple(job.kept), job.request) if job.kept and job.request else None
                job.finish("failed", kept, ServerStopping("The server is stopping."))
            self._waiting.clear()
            self._lock.notify_all()
        if self.recordings:
            self.recordings.close()

    def close(self, timeout: float | None = 5.0) -> None:
        """Refuse new jobs, cancel the waiting ones, interrupt the running ones, and wait `timeout` seconds for them."""
        with self._lock:
            self._closed = True
            for job in (*self._waiting, *self._running):
                self.interrupt(job.id)
            self._lock.notify_all()
        until = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads:
            thread.join(None if until is None else max(until - time.monotonic(), 0))
        if self.recordings:
            self.recordings.close()

    def _add(self, job: Job) -> Job:
        with self._lock:
            if self._closed or len(self._waiting) >= self._limit:
                raise QueueFull("The server is stopping." if self._closed else "The queue is full: try again later.")
            if self._waiting and sum(one.bytes_held() for one in (*self._waiting, job)) > WAITING_BYTES:
                raise QueueFull("The jobs that wait hold as many pictures as fit: try again later.")
            old = self._jobs.get(job.id)
            if old is not None and not old.over:
                raise InvalidInput(f"A job called {job.id!r} is in the queue already.", field="force_task_id")
            if old is not None:
                self._forget(old)
            self._jobs[job.id] = job
            self._line_up(job)
            self._renumber()
            self._lock.notify()  # one is enough: a worker at the end of its job takes what may begin through that
        return job

    def _line_up(self, job: Job) -> None:
        """Put `job` behind those that wait, and in front of those that give way; one of these that runs is stopped."""
        if job.gives_way:
            self._waiting.append(job)
            return
        place = len(self._waiting)
        while place and self._waiting[place - 1].gives_way:
            place -= 1
        self._waiting.insert(place, job)
        for one in self._running:
            if one.gives_way:
                one.displaced = True
                one.interrupt()

    def _renumber(self) -> None:
        """Number the waiting jobs from 1."""
        for position, job in enumerate(self._waiting, start=1):
            job.move_to(position)

    def _work(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._next() or self._closed)
                job = self._next()
                if job is None:
                    return
                self._waiting.remove(job)
                self._running.append(job)
                job.begin()
                self._renumber()
            state, result, error = self._run(job)
            with self._lock:
                self._running.remove(job)
                job.finish(state, result, error)
                self._forget_old()
                idle = not self._waiting and not self._running
            del job, result, error  # the thread may wait for hours; its variables must not keep the pictures alive
            if idle:
                give_back()

    def _next(self) -> Job | None:
        """The first of the waiting jobs that may begin. None if there is none."""
        busy = any(job.alone for job in self._running)
        running = collections.Counter(job.checkpoint for job in self._running)
        return next((job for job in self._waiting if not (busy and job.alone) and
                     (job.checkpoint is None or running[job.checkpoint] < self._alike)), None)

    def _run(self, job: Job) -> tuple[State, Result | None, UserError | None]:
        def kept() -> Result | None:
            return Result(tuple(job.kept), job.request) if job.kept and job.request else None

        try:
            result = job.run()
        except Stopped:
            return "interrupted", kept(), None
        except BaseException as error:  # an extension may call sys.exit; the worker must survive it
            return "failed", kept(), explained(error, job.id)
        return ("interrupted" if result is not None and result.interrupted else "done"), result, None

    def _forget_old(self) -> None:
        over = []
        for job in [job for job in self._jobs.values() if job.over]:
            if job.gives_way:
                self._forget(job)
            else:
                over.append(job)
        held = sum(job.bytes_held() for job in over)
        while len(over) > 1 and (len(over) > KEPT_JOBS or held > KEPT_BYTES):
            oldest = over.pop(0)
            held -= oldest.bytes_held()
            self._forget(oldest)

    def _forget(self, job: Job) -> None:
        del self._jobs[job.id]
        if self.recordings:
            self.recordings.forget(job.recordings)


def _with_pictures_of(packed: Txt2Img, request: Txt2Img) -> Txt2Img:
    """`request`, which was carried out, with the packed pictures that it came with."""
    if packed.first_pass:
        request = dataclasses.replace(request, first_pass=packed.first_pass)
    request = dataclasses.replace(request, control_units=packed.control_units)
    if not isinstance(packed, Img2Img) or not isinstance(request, Img2Img):
        return request
    request = dataclasses.replace(request, init_images=packed.init_images, depth_map=packed.depth_map)
    if isinstance(packed, Inpaint) and isinstance(request, Inpaint):
        return dataclasses.replace(request, mask=packed.mask, then_mask=packed.then_mask,
                                   photographs=packed.photographs)
    return request
