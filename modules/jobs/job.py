"""One job: its state, progress, previews and result, and how it is stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Literal, Protocol

from PIL import Image

from modules.errors import Interrupted, Skipped, UserError
from modules.request import Img2Img, Txt2Img
from modules.request.job_context import Preview
from modules.request.result import GeneratedImage, Result

log = logging.getLogger(__name__)

State = Literal["queued", "running", "done", "failed", "interrupted"]
Clock = Callable[[], float]

PREVIEW_SECONDS = 0.2


class Save(Protocol):
    """Writes one picture and says where; `modules.gallery.saving.Saver` is one."""

    def __call__(self, image: GeneratedImage, request: Txt2Img, /) -> Path: ...


class Job:
    """One piece of work and all that can be known of it. Every method may be called from any thread.

    `request` is None for work without one (a checkpoint swap, extras). `position` is 0 for the running job, 1 for the
    next, and 0 when it is over.
    `version` counts changes; `wait_change` waits for the next. Is a `progress.JobContext` for the engine.
    """

    def __init__(self, job_id: str, work: Callable[[Job], Result | None], *, request: Txt2Img | None = None,
                 save: Save | None = None, clock: Clock = time.monotonic) -> None:
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
        """It is over. The preview and the work are let go, for they hold latents and models."""
        with self._change():
            self.state, self.position, self.result, self.error = state, 0, result, error
            self.stage_text = error.message if error else state.capitalize()
            self._render, self._work, self.kept = None, lambda job: None, []
        with self._preview_lock:
            self._shown = None
        self.finished.set_result(None)

    def bytes_held(self) -> int:
        """About how much memory its pictures take."""
        pictures = list(self.request.init_images) if isinstance(self.request, Img2Img) else []
        if self.result is not None:
            pictures += [picture for made in self.result.images for picture in (made.image, *made.extras)]
        return sum(picture.width * picture.height * len(picture.getbands()) for picture in pictures)

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
