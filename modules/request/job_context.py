"""How a running computation tells the outside how far it is, and asks whether it may go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image

from modules.request.request import Txt2Img
from modules.request.result import GeneratedImage

Preview = Callable[[], Image.Image]


class EnoughRecorded(Exception):
    """No more runs of the job are recorded than the first `most`. Its text is a sentence for the person."""

    def __init__(self, most: int) -> None:
        super().__init__(f"Only the first {most} runs were recorded: a job keeps no more.")


class JobContext(Protocol):
    """What the engine sees of a job. The queue's `Job` is one; `SubJob` and `NullJob` are others."""

    @property
    def saves(self) -> bool:
        """Whether `keep` writes the pictures to files."""

    def check(self) -> None:
        """Raises `Interrupted` or `Skipped` when somebody asked for it."""

    def stage(self, text: str) -> None:
        """Names what is being done now, in words for the screen ("Loading photo.safetensors")."""

    def batches(self, done: int, total: int) -> None:
        """`done` of `total` batches (Batch count) are finished."""

    def step(self, step: int, total: int, preview: Preview) -> None:
        """Step `step` (1-based) of `total` of the current batch is done. `preview` renders the present guess on demand.

        Raises like `check`.
        """

    def keep(self, images: Sequence[GeneratedImage], request: Txt2Img) -> tuple[GeneratedImage, ...]:
        """Takes finished pictures before the rest is made, so that nothing that comes later can lose them.

        Returns them with the path under which they were saved, if they were. Raises StorageFull, CannotSave.
        """

    def recording(self) -> Path | None:
        """A new file for the steps of a run that is to be recorded; None where nobody wants one. Raises EnoughRecorded,
        once, where there are enough already."""


class SubJob:
    """A job that hands everything on to another; a subclass says what it does otherwise."""

    def __init__(self, job: JobContext) -> None:
        self._job = job

    @property
    def saves(self) -> bool:
        return self._job.saves

    def check(self) -> None:
        self._job.check()

    def stage(self, text: str) -> None:
        self._job.stage(text)

    def batches(self, done: int, total: int) -> None:
        self._job.batches(done, total)

    def step(self, step: int, total: int, preview: Preview) -> None:
        self._job.step(step, total, preview)

    def keep(self, images: Sequence[GeneratedImage], request: Txt2Img) -> tuple[GeneratedImage, ...]:
        return self._job.keep(images, request)

    def recording(self) -> Path | None:
        return self._job.recording()


class NullJob:
    """A job that nobody watches and nobody stops."""

    saves = False

    def check(self) -> None: ...

    def stage(self, text: str) -> None: ...

    def batches(self, done: int, total: int) -> None: ...

    def step(self, step: int, total: int, preview: Preview) -> None: ...

    def keep(self, images: Sequence[GeneratedImage], request: Txt2Img) -> tuple[GeneratedImage, ...]:
        return tuple(images)

    def recording(self) -> Path | None:
        return None
