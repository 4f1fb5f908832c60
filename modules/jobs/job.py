"""One job: its state, progress, preview and result, and the flags that stop it."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import io
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Literal, Protocol

from PIL import Image

from modules.errors import Interrupted, Skipped, UserError
from modules.request import Img2Img, Inpaint, Txt2Img
from modules.request.job_context import EnoughRecorded, Preview
from modules.request.result import GeneratedImage, Result

log = logging.getLogger(__name__)

State = Literal["queued", "running", "done", "failed", "interrupted"]
Clock = Callable[[], float]

PREVIEW_SECONDS = 0.2
MOST_RECORDINGS = 20
"""Of runs of the sampler, in one job."""


class Save(Protocol):
    """Writes one picture to disk and returns its path. `modules.gallery.saving.Saver` is one."""

    def __call__(self, image: GeneratedImage, request: Txt2Img, /) -> Path: ...


@dataclasses.dataclass(frozen=True)
class Origin:
    """Who asked for a job: a window of the page by its secret id, the tab there, and a name for jobs without a prompt.
    Jobs of programs have no window, but the address that they came from."""

    window: str = ""
    tab: str = ""
    name: str = ""
    address: str = ""


NOBODY = Origin()
"""Of a job whose sender does not matter."""


class Job:
    """One unit of work for the queue. Every method may be called from any thread.

    `request` is None for work that has no request (loading a checkpoint, extras), which holds `nbytes` of memory until
    it is over. Of jobs that are to be `alone`, one runs at a time. `checkpoint` is the name in the options of a request
    that uses one, "" for the usual one. A job that `gives_way` lets all others go first: it is `displaced`, which
    interrupts it, when another comes, and it is not kept once it is over. `position` is the place in the queue: 1 for
    the next job, 0 once it runs or is over. `version` counts changes; `wait_change` waits for the next one. `announced`
    says that its window has shown how it ended. `recordings` are files with the steps of its runs. For the engine a Job
    is a `JobContext`.
    """

    def __init__(self, job_id: str, work: Callable[[Job], Result | None], *, request: Txt2Img | None = None,
                 save: Save | None = None, record: Callable[[], Path] | None = None, nbytes: int = 0,
                 alone: bool = False, gives_way: bool = False, origin: Origin = NOBODY,
                 clock: Clock = time.monotonic) -> None:
        self.id, self.request, self.alone, self.origin = job_id, request, alone, origin
        self.checkpoint = request.options.sd_model_checkpoint if request and not alone else None
        self.gives_way = gives_way
        self.displaced = self.announced = False
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
        self.recordings: list[Path] = []
        self._work, self._save, self._record, self._clock = work, save, record, clock
        self._nbytes = nbytes
        self._changed = threading.Condition()
        self._first_step: tuple[float, float] | None = None
        self._render: Preview | None = None
        self._preview_lock = threading.Lock()
        self._shown: Image.Image | None = None
        self._shown_version, self._shown_at = 0, -PREVIEW_SECONDS

    # what the engine calls

    @property
    def saves(self) -> bool:
        """Whether its pictures are written to files."""
        return self._save is not None

    def check(self) -> None:
        """Raise `Interrupted` or `Skipped` if that was requested. One skip skips one batch."""
        with self._changed:
            if self.interrupted:
                raise Interrupted
            if self.skipped:
                self.skipped = False
                raise Skipped

    def stage(self, text: str) -> None:
        """Set the text that describes the current activity."""
        if text != self.stage_text:
            with self._change():
                self.stage_text = text

    def batches(self, done: int, total: int) -> None:
        """Record that `done` of `total` batches are finished."""
        with self._change():
            self.batch, self.batch_count = done, total
            self.sampling_step = 0
            self.skipped = False

    def step(self, step: int, total: int, preview: Preview) -> None:
        """Record that step `step` of `total` of the current batch is done. Raises as `check`."""
        with self._change():
            self.sampling_step, self.sampling_steps = step, total
            self._render = preview
            self.preview_version += 1
            self._first_step = self._first_step or (self._clock(), self._progress())
        self.check()

    def keep(self, images: Sequence[GeneratedImage], request: Txt2Img) -> tuple[GeneratedImage, ...]:
        """Store finished pictures, and save them if this job saves. Returns them with their paths.

        Raises StorageFull, CannotSave; the pictures stay in the job then.
        """
        with self._change():
            kept = self.kept  # a server that stops may end the job meanwhile, which then has another list
            first = len(kept)
            kept += images
        if self._save is not None:
            for number, made in enumerate(images, first):
                kept[number] = dataclasses.replace(made, path=self._save(made, request))
        return tuple(kept[first:first + len(images)])

    def recording(self) -> Path | None:
        """A new file for the steps of a run. None for a job that has nowhere to keep them.

        Where there are enough, EnoughRecorded is raised once, and None is returned from then on.
        """
        if self._record is None:
            return None
        if len(self.recordings) >= MOST_RECORDINGS:
            self._record = None
            raise EnoughRecorded(MOST_RECORDINGS)
        self.recordings.append(self._record())
        return self.recordings[-1]

    @property
    def recorded(self) -> list[str]:
        """The names of the recordings that were written."""
        return [file.stem for file in self.recordings if file.is_file()]

    # what watchers call

    @property
    def over(self) -> bool:
        """True once the job is done, failed or interrupted."""
        return self.state not in ("queued", "running")

    @property
    def name(self) -> str:
        """What the queue is shown with: the prompt's, or that of its origin."""
        return self.origin.name or (self.request.prompt if self.request else "")

    @property
    def progress(self) -> float:
        """The share of the whole job that is done, 0 to 1."""
        with self._changed:
            return self._progress()

    @property
    def eta(self) -> float | None:
        """The estimated seconds that are left. None until two steps are done, and when the job does not run."""
        with self._changed:
            if self.state != "running" or self._first_step is None:
                return None
            began, progress_then = self._first_step
            done = self._progress() - progress_then
            return (self._clock() - began) / done * (1 - self._progress()) if done > 0 else None

    def preview(self) -> Image.Image | None:
        """The current preview, or None before the first step.

        It is rendered in the caller's thread, at most once in `PREVIEW_SECONDS`.
        """
        with self._preview_lock:
            with self._changed:
                version, render = self.preview_version, self._render
            now = self._clock()
            if render and version != self._shown_version and now - self._shown_at >= PREVIEW_SECONDS:
                self._shown_version, self._shown_at = version, now
                try:
                    self._shown = render()
                except Exception as error:  # a job does not fail for its preview
                    log.warning("Job %s: there is no preview: %s", self.id, error)
            return self._shown

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the job is over. Returns False after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self.over, timeout)

    def wait_change(self, version: int, timeout: float | None = None) -> int:
        """Wait until the version differs from `version`, at most `timeout` seconds. Returns the current version."""
        with self._changed:
            self._changed.wait_for(lambda: self.version != version, timeout)
            return self.version

    # what the queue calls

    def interrupt(self) -> None:
        """Request that the engine stops and keeps what it has made."""
        with self._change():
            self.interrupted = True

    def skip(self) -> None:
        """Request that the engine goes on with the next batch."""
        with self._change():
            self.skipped = True

    def move_to(self, position: int) -> None:
        """Set the place in the queue."""
        if position != self.position:
            with self._change():
                self.position = position

    def begin(self) -> None:
        """Mark the job as running."""
        with self._change():
            self.state, self.position, self.stage_text = "running", 0, "Starting"

    def run(self) -> Result | None:
        """Do the work, in the calling thread."""
        return self._work(self)

    def finish(self, state: State, result: Result | None = None, error: UserError | None = None) -> None:
        """End the job, unless it is over. Its preview and its work are dropped, since they hold latents and models."""
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
        """The approximate memory of the job's pictures, in bytes."""
        pictures = list(self.request.init_images) if isinstance(self.request, Img2Img) else []
        pictures += [self.request.mask] if isinstance(self.request, Inpaint) else []
        pictures += [self.request.then_mask] if isinstance(self.request, Inpaint) and self.request.then_mask else []
        pictures += [self.request.depth_map] if isinstance(self.request, Img2Img) and self.request.depth_map else []
        pictures += [self.request.first_pass] if self.request and self.request.first_pass else []
        units = self.request.control_units if self.request else ()
        pictures += [picture for unit in units for picture in unit.pictures]
        if self.result is not None:
            pictures += [picture for made in self.result.images for picture in (made.image, *made.extras)]
        kept = list(self.request.photographs) if isinstance(self.request, Inpaint) else []
        kept += [made.photograph for made in self.result.images if made.photograph] if self.result else []
        return sum(map(_bytes_of, pictures), sum(one.pixels.nbytes for one in kept)
                   + (0 if self.over else self._nbytes))

    def _progress(self) -> float:
        if self.over:
            return 1.0
        part = self.sampling_step / self.sampling_steps if self.sampling_steps else 0.0
        return min((self.batch + part) / max(self.batch_count, 1), 1.0)

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        """Hold the lock; afterwards count the change and wake the waiting threads."""
        with self._changed:
            yield
            self.version += 1
            self._changed.notify_all()


def _bytes_of(picture: Image.Image) -> int:
    """The approximate memory of a picture, which is less while it is packed, in bytes."""
    packed = getattr(picture, "fp", None)
    if isinstance(packed, io.BytesIO):
        return packed.getbuffer().nbytes
    return picture.width * picture.height * len(picture.getbands())
