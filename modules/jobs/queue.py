"""One worker thread owns the model; the page and the HTTP API hand it their requests here.

A job goes on whoever watches it: closing a tab or a connection stops nothing, and a finished job stays findable by its
id until newer ones need the room. Only `interrupt` and `skip` stop anything.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import io
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Literal, Protocol

from PIL import Image

from modules.errors import OUR_FAULT, Interrupted, InvalidInput, Skipped, Stopped, UserError
from modules.request import Img2Img, Inpaint, Txt2Img
from modules.request.job_context import JobContext, Preview, SubJob
from modules.request.options import Options
from modules.request.result import GeneratedImage, Result

log = logging.getLogger(__name__)

State = Literal["queued", "running", "done", "failed", "interrupted"]
Clock = Callable[[], float]

KEPT_JOBS = 50
KEPT_BYTES = 512 * 2**20
WAITING_BYTES = 512 * 2**20
"""How much the pictures of all jobs that wait may take."""
PREVIEW_SECONDS = 0.2


class QueueFull(UserError):
    """Too many jobs wait already."""

    status = 503


class ServerStopping(UserError):
    """The program ends before the job does."""

    status = 503


class OutOfMemory(UserError):
    """The picture does not fit into memory."""

    status = 503


class InternalError(UserError):
    """Something that is our fault; the log has the traceback."""

    status = 500


class Worker(Protocol):
    """What the queue wants of the engine."""

    def generate(self, request: Txt2Img, job: JobContext, /) -> Result: ...

    def load(self, options: Options, job: JobContext, /) -> object: ...


class Save(Protocol):
    """Writes one picture and says where; `modules.gallery.saving.Saver` is one."""

    def __call__(self, image: GeneratedImage, request: Txt2Img, /) -> Path: ...


@dataclasses.dataclass(frozen=True)
class Task:
    """One file of a batch: its `name` for the screen, and what makes its request when its turn comes."""

    name: str
    make_request: Callable[[], Txt2Img]


class Job:
    """One piece of work and all that can be known of it. Every method may be called from any thread.

    `request` is None for work without one (a checkpoint swap, extras), which holds `nbytes`. `position` is 0 for the
    running job, 1 for the next, and 0 when it is over.
    `version` counts changes; `wait_change` waits for the next. Is a `progress.JobContext` for the engine.
    """

    def __init__(self, job_id: str, work: Callable[[Job], Result | None], *, request: Txt2Img | None = None,
                 save: Save | None = None, nbytes: int = 0, clock: Clock = time.monotonic) -> None:
        self.id, self.request = job_id, request
        self.created = datetime.datetime.now()
        self.state: State = "queued"
        self.position = 0
        self.stage_text = "Waiting"
        self.batch, self.batch_count = 0, getattr(request, "n_iter", 1)
        self.sampling_step, self.sampling_steps = 0, getattr(request, "steps", 0)
        self.result: Result | None = None
        self.error: UserError | None = None
        self.finished: Future[None] = Future()
        self.version = 0
        self.preview_version = 0
        self.interrupted = self.skipped = False
        self.kept: list[GeneratedImage] = []
        self._work, self._save, self._clock = work, save, clock
        self._nbytes = nbytes
        self._changed = threading.Condition()
        self._first_step: tuple[float, float] | None = None
        self._render: Preview | None = None
        self._preview_lock = threading.Lock()
        self._shown: Image.Image | None = None
        self._shown_version, self._shown_at = 0, -PREVIEW_SECONDS

    # what the engine calls

    def check(self) -> None:
        """Raises `Interrupted` or `Skipped` when somebody asked for it. One skip skips one batch."""
        with self._changed:
            if self.interrupted:
                raise Interrupted
            if self.skipped:
                self.skipped = False
                raise Skipped

    def stage(self, text: str) -> None:
        """Names what is being done now."""
        if text != self.stage_text:
            with self._change():
                self.stage_text = text

    def batches(self, done: int, total: int) -> None:
        """`done` of `total` batches are finished."""
        with self._change():
            self.batch, self.batch_count = done, total
            self.sampling_step = 0
            self.skipped = False

    def step(self, step: int, total: int, preview: Preview) -> None:
        """Step `step` of `total` of the current batch is done. Raises like `check`."""
        with self._change():
            self.sampling_step, self.sampling_steps = step, total
            self._render = preview
            self.preview_version += 1
            self._first_step = self._first_step or (self._clock(), self._progress())
        self.check()

    def keep(self, images: Sequence[GeneratedImage], request: Txt2Img) -> tuple[GeneratedImage, ...]:
        """Takes finished pictures and saves them, if the job is to. Raises StorageFull, CannotSave, losing none."""
        first = len(self.kept)
        with self._change():
            self.kept += images
        if self._save is not None:
            for number, made in enumerate(images, first):
                self.kept[number] = dataclasses.replace(made, path=self._save(made, request))
        return tuple(self.kept[first:])

    # what watchers call

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state not in ("queued", "running")

    @property
    def progress(self) -> float:
        """How much of the whole job is done, 0 to 1."""
        with self._changed:
            return self._progress()

    @property
    def eta(self) -> float | None:
        """Seconds that are left, judged by the steps so far; None until two of them are done."""
        with self._changed:
            if self.state != "running" or self._first_step is None:
                return None
            began, progress_then = self._first_step
            done = self._progress() - progress_then
            return (self._clock() - began) / done * (1 - self._progress()) if done > 0 else None

    def preview(self) -> Image.Image | None:
        """The picture as it is now, drawn in the caller's thread every `PREVIEW_SECONDS` at most; None at first."""
        with self._preview_lock:
            with self._changed:
                version, render = self.preview_version, self._render
            now = self._clock()
            if render and version != self._shown_version and now - self._shown_at >= PREVIEW_SECONDS:
                self._shown_version, self._shown_at = version, now
                try:
                    self._shown = render()
                except Exception as error:  # the picture itself may well become ready
                    log.warning("Job %s: there is no preview: %s", self.id, error)
            return self._shown

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the job is over; False when `timeout` seconds passed before."""
        with self._changed:
            return self._changed.wait_for(lambda: self.over, timeout)

    def wait_change(self, version: int, timeout: float | None = None) -> int:
        """Waits until something changed since `version`; the version now, the same after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.version != version, timeout)
            return self.version

    # what the queue calls

    def interrupt(self) -> None:
        """Asks the engine to stop and keep what there is."""
        with self._change():
            self.interrupted = True

    def skip(self) -> None:
        """Asks the engine to go on with the next batch."""
        with self._change():
            self.skipped = True

    def move_to(self, position: int) -> None:
        """Tells the job its place in the queue."""
        if position != self.position:
            with self._change():
                self.position = position

    def begin(self) -> None:
        """The worker has taken it."""
        with self._change():
            self.state, self.position, self.stage_text = "running", 0, "Starting"

    def run(self) -> Result | None:
        """Does the work."""
        return self._work(self)

    def finish(self, state: State, result: Result | None = None, error: UserError | None = None) -> None:
        """It is over, unless it was before. The preview and the work are let go: they hold latents and models."""
        with self._change():
            if self.over:
                return
            self.state, self.position, self.result, self.error = state, 0, result, error
            self.stage_text = error.message if error else state.capitalize()
            self._render, self._work, self.kept = None, lambda job: None, []
        with self._preview_lock:
            self._shown = None
        self.finished.set_result(None)

    def bytes_held(self) -> int:
        """About how much memory its pictures take."""
        pictures = list(self.request.init_images) if isinstance(self.request, Img2Img) else []
        pictures += [self.request.mask] if isinstance(self.request, Inpaint) else []
        if self.result is not None:
            pictures += [picture for made in self.result.images for picture in (made.image, *made.extras)]
        return sum(map(_bytes_of, pictures), 0 if self.over else self._nbytes)

    def _progress(self) -> float:
        if self.over:
            return 1.0
        part = self.sampling_step / self.sampling_steps if self.sampling_steps else 0.0
        return min((self.batch + part) / max(self.batch_count, 1), 1.0)

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        """Holds the lock; afterwards counts the change and wakes those who wait."""
        with self._changed:
            yield
            self.version += 1
            self._changed.notify_all()


def _bytes_of(picture: Image.Image) -> int:
    """About how much memory it takes: less while it is packed."""
    packed = getattr(picture, "fp", None)
    if isinstance(packed, io.BytesIO):
        return packed.getbuffer().nbytes
    return picture.width * picture.height * len(picture.getbands())


class JobQueue:
    """Runs jobs one after another in a daemon thread, in the order in which they came.

    `save` is called for each picture of a job that wants saving. Finished jobs are kept up to `KEPT_JOBS` and
    `KEPT_BYTES`, the newest always.
    """

    def __init__(self, engine: Worker, save: Save, *, limit: int = 100, clock: Clock = time.monotonic) -> None:
        self._engine, self._save, self._limit, self._clock = engine, save, limit, clock
        self._jobs: dict[str, Job] = {}
        self._waiting: collections.deque[Job] = collections.deque()
        self._current: Job | None = None
        self._closed = False
        self._lock = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)
        self._thread.start()

    def submit(self, request: Txt2Img, *, job_id: str | None = None, save: bool | None = None,
               unpack: Callable[[Txt2Img], Txt2Img] | None = None) -> Job:
        """Puts a request at the end of the queue. Its pictures are saved if `save` says so, or else its options.

        A request whose pictures are packed needs `unpack`, which is called when its turn comes; before and after that
        the packed ones are held. Raises QueueFull, or InvalidInput for an id that is in use.
        """
        save = request.options.samples_save if save is None else save

        def work(job: Job) -> Result:
            if unpack is None:
                return self._engine.generate(request, job)
            result = self._engine.generate(unpack(request), job)
            return dataclasses.replace(result, request=_with_pictures_of(request, result.request))

        return self._add(Job(job_id or uuid.uuid4().hex, work, request=request, save=self._save if save else None,
                             clock=self._clock))

    def submit_tasks(self, tasks: Sequence[Task], *, save: bool = True) -> Job:
        """Has all `tasks` done as one job. One that fails is named in the result's warnings and the others go on.

        Raises as `submit`.
        """
        def work(job: Job) -> Result | None:
            return _run_tasks(tasks, self._engine, job)

        return self._add(Job(uuid.uuid4().hex, work, save=self._save if save else None, clock=self._clock))

    def submit_load(self, options: Options) -> Job:
        """Loads the model that `options` name when its turn comes. Raises QueueFull."""
        def load(job: Job) -> None:
            self._engine.load(options, job)

        return self.submit_work(load)

    def submit_work(self, work: Callable[[Job], None], *, job_id: str | None = None, nbytes: int = 0) -> Job:
        """Has the worker do `work` when its turn comes: anything that needs the model or the device for itself.

        `nbytes` is what it holds meanwhile. Raises as `submit`.
        """
        return self._add(Job(job_id or uuid.uuid4().hex, work, nbytes=nbytes, clock=self._clock))

    def get(self, job_id: str) -> Job | None:
        """The job of that id, unless it never was or is long over."""
        with self._lock:
            return self._jobs.get(job_id)

    @property
    def current(self) -> Job | None:
        """The running job."""
        with self._lock:
            return self._current

    def pending(self) -> list[Job]:
        """The jobs that wait, the next first."""
        with self._lock:
            return list(self._waiting)

    def interrupt(self, job_id: str | None = None) -> bool:
        """Stops a job, or the running one; a waiting one is cancelled. False when there is nothing to stop."""
        with self._lock:
            job = self._jobs.get(job_id) if job_id else self._current
            if job is None or job.over:
                return False
            job.interrupt()
            if job in self._waiting:
                self._waiting.remove(job)
                job.finish("interrupted")
                self._renumber()
            return True

    def skip(self, job_id: str | None = None) -> bool:
        """Stops the present batch of a job, or of the running one. False when there is none."""
        with self._lock:
            job = self._jobs.get(job_id) if job_id else self._current
            if job is None or job is not self._current:
                return False
            job.skip()
            return True

    def stop(self) -> None:
        """Takes nothing more, and all jobs are over at once: with ServerStopping, and the pictures finished so far.

        The worker may still be in the middle of a step; nobody waits for it.
        """
        with self._lock:
            self._closed = True
            running = [self._current] if self._current else []
            for job in (*running, *self._waiting):
                job.interrupt()
                kept = Result(tuple(job.kept), job.request) if job.kept and job.request else None
                job.finish("failed", kept, ServerStopping("The server is stopping."))
            self._waiting.clear()
            self._lock.notify_all()

    def close(self, timeout: float | None = 5.0) -> None:
        """Takes nothing more, cancels what waits, interrupts what runs, and waits `timeout` seconds for it."""
        with self._lock:
            self._closed = True
            for job in (*self._waiting, *([self._current] if self._current else [])):
                self.interrupt(job.id)
            self._lock.notify_all()
        self._thread.join(timeout)

    def _add(self, job: Job) -> Job:
        with self._lock:
            if self._closed or len(self._waiting) >= self._limit:
                raise QueueFull("The server is stopping." if self._closed else "The queue is full: try again later.")
            if self._waiting and sum(one.bytes_held() for one in (*self._waiting, job)) > WAITING_BYTES:
                raise QueueFull("The jobs that wait hold as many pictures as fit: try again later.")
            old = self._jobs.get(job.id)
            if old is not None and not old.over:
                raise InvalidInput(f"A job called {job.id!r} is in the queue already.", field="force_task_id")
            self._jobs.pop(job.id, None)
            self._jobs[job.id] = job
            self._waiting.append(job)
            self._renumber()
            self._lock.notify_all()
        return job

    def _renumber(self) -> None:
        """A waiting job's position counts the jobs before it, the running one included."""
        for position, job in enumerate(self._waiting, start=1):
            job.move_to(position)

    def _work(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                job = self._current = self._waiting.popleft()
                job.begin()
                self._renumber()
            state, result, error = self._run(job)
            with self._lock:
                self._current = None
                job.finish(state, result, error)
                self._forget_old()
            del job, result, error  # the thread waits here for hours: it must not be what keeps the pictures alive

    def _run(self, job: Job) -> tuple[State, Result | None, UserError | None]:
        def kept() -> Result | None:
            return Result(tuple(job.kept), job.request) if job.kept and job.request else None

        try:
            result = job.run()
        except Stopped:
            return "interrupted", kept(), None
        except BaseException as error:  # an extension may call sys.exit; the worker lives on
            return "failed", kept(), _explained(error, job)
        return ("interrupted" if result is not None and result.interrupted else "done"), result, None

    def _forget_old(self) -> None:
        over = [job for job in self._jobs.values() if job.over]
        held = sum(job.bytes_held() for job in over)
        while len(over) > 1 and (len(over) > KEPT_JOBS or held > KEPT_BYTES):
            oldest = over.pop(0)
            held -= oldest.bytes_held()
            del self._jobs[oldest.id]


def _with_pictures_of(packed: Txt2Img, request: Txt2Img) -> Txt2Img:
    """`request`, which was carried out, with the packed pictures that it came with."""
    if not isinstance(packed, Img2Img) or not isinstance(request, Img2Img):
        return request
    request = dataclasses.replace(request, init_images=packed.init_images)
    if isinstance(packed, Inpaint) and isinstance(request, Inpaint):
        return dataclasses.replace(request, mask=packed.mask)
    return request


class _TaskPart(SubJob):
    """What the engine sees of a job that does many tasks: the progress of one becomes a part of the whole."""

    def __init__(self, job: Job, name: str, index: int, count: int) -> None:
        super().__init__(job)
        self._name, self._index, self._count = name, index, count

    def stage(self, text: str) -> None:
        super().stage(f"{self._name}: {text}")

    def batches(self, done: int, total: int) -> None:
        super().batches(self._index * total + done, self._count * total)


def _run_tasks(tasks: Sequence[Task], engine: Worker, job: Job) -> Result | None:
    """Raises InvalidInput with all their sentences when every task failed."""
    warnings: list[str] = []
    for index, task in enumerate(tasks):
        part = _TaskPart(job, task.name, index, len(tasks))
        part.batches(0, 1)
        try:
            part.check()
            job.request = task.make_request()
            result = engine.generate(job.request, part)
        except Skipped:
            continue
        except Stopped:
            break
        except Exception as error:
            warnings.append(f"{task.name}: {_explained(error, job).message}")
            continue
        warnings += [f"{task.name}: {warning}" for warning in result.warnings]
        if job.interrupted:
            break
    if warnings and not job.kept:
        raise InvalidInput(" ".join(warnings))
    return Result(tuple(job.kept), job.request, tuple(warnings), job.interrupted) if job.request else None


def _explained(error: BaseException, job: Job) -> UserError:
    """`error` as a sentence; what is our fault goes to the log with its traceback."""
    if isinstance(error, UserError):
        error.__cause__ = error.__context__ = None  # their frames, and its own, would keep the model in memory
        return error.with_traceback(None)
    if _is_out_of_memory(error):
        log.warning("Job %s ran out of memory: %s", job.id, error)
        return OutOfMemory("There is not enough memory for this: try a smaller picture or a smaller batch.")
    log.error("Job %s failed", job.id, exc_info=error)
    return InternalError(OUR_FAULT)


NO_MEMORY = ("DefaultCPUAllocator", "out of memory", "could not create a memory", "ALLOC_FAILED")
"""What PyTorch, oneDNN, cuBLAS and cuDNN say."""


def _is_out_of_memory(error: BaseException) -> bool:
    """By name, so that this file need not import torch. On the CPU torch raises a plain RuntimeError."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)
