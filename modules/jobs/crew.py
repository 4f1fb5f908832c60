"""A worker that makes parts of jobs, as the server sees it, and what makes an engine into one.

What goes to and fro are plain values, so that the worker may be a thread, a process or another machine. A worker tells
what happens as events while it works; a failure is an event too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import io
import os
import platform
import queue
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from modules.base.memory_in_use import memory_in_use
from modules.engine.models import compute_device
from modules.errors import Interrupted, NotFound, Skipped, Stopped, UserError
from modules.gallery.formats import Format
from modules.gallery.saving import encoded
from modules.jobs.failures import explained
from modules.jobs.job import MOST_RECORDINGS
from modules.request import Txt2Img
from modules.request.job_context import EnoughRecorded, Preview
from modules.request.result import GeneratedImage, Result
from modules.settings import PROJECT, Settings
from modules.text.infotext import VERSION

if TYPE_CHECKING:
    from PIL import Image

    from modules.engine.engine import Engine
    from modules.sampling.types import Inputs

Wish = Literal["interrupt", "skip"]

STEP_SECONDS = 0.05
"""How often a worker tells of its steps at most."""

SAME_PACKAGES = ("torch", "pillow", "numpy", "diffusers", "transformers", "opencv-python-headless")
"""The packages whose versions decide what a picture looks like to the last bit."""


class CrewLost(Exception):
    """The worker has ended, or cannot be reached. Its text says why."""


class CrewRefused(Exception):
    """The worker will never be of use here. Its text says why."""


@dataclass(frozen=True)
class Part:
    """What one worker is asked to do. `kind` "batches": the batches `numbers` of a resolved `request`; "script": a
    request with a script, as a whole; "load": only the model that its options name.

    `extra` are keys of the parameters text. `arguments` and `switched_off` are those of `Hooks`. `config` is what
    config.json holds, `digest` the checkpoint's SHA-256, "" if it is not known. `form` is the format in which the
    pictures will be saved, None if they are not.
    """

    id: str
    kind: Literal["batches", "script", "load"]
    request: Txt2Img
    numbers: tuple[int, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    switched_off: frozenset[str] = frozenset()
    config: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    form: Format | None = None


@dataclass(frozen=True)
class Stage:
    """What the worker does now, in words for the screen."""

    text: str


@dataclass(frozen=True)
class Begun:
    """`done` of the part's `total` batches are over, and the next begins. A batch may count as several: its spots."""

    done: int
    total: int


@dataclass(frozen=True)
class Step:
    """Step `step` of `total` of the present batch is done."""

    step: int
    total: int


@dataclass(frozen=True)
class Made:
    """Finished pictures. `changes` are the fields of the request that were carried out otherwise than asked. `files`
    are the pictures as they will be saved; none where they are not, or where that failed."""

    images: tuple[GeneratedImage, ...]
    changes: Mapping[str, Any]
    files: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Recorded:
    """The file with the steps of a run."""

    content: bytes


@dataclass(frozen=True)
class Over:
    """The part is done. `warm` are the checkpoints that are in the worker's memory, by filename, `memory` is what it
    has in use. `reads` is what the model in use reads beside the noise. `order` are the pictures of a script's result:
    the numbers of those that were made before, or pictures."""

    warnings: tuple[str, ...] = ()
    interrupted: bool = False
    work: float = 1.0
    maps: tuple[Image.Image, ...] = ()
    changes: Mapping[str, Any] = field(default_factory=dict)
    warm: frozenset[str] = frozenset()
    memory: Mapping[str, Any] = field(default_factory=dict)
    reads: Inputs | None = None
    order: tuple[int | GeneratedImage, ...] = ()


@dataclass(frozen=True)
class Failed:
    """The part cannot be done. `lacks`: for want of the checkpoint, which another worker may have."""

    error: UserError
    lacks: bool = False


Event = Stage | Begun | Step | Made | Recorded | Over | Failed


@dataclass(frozen=True)
class About:
    """What a worker is: its machine and device, and what has to be the same everywhere, by name."""

    machine: str
    device: str
    process: int
    same: Mapping[str, str]


class Crew(Protocol):
    """One worker. Every method raises CrewLost when it has ended."""

    def about(self) -> About:
        """What it is. Waits until it is there. Raises CrewRefused."""

    def make(self, part: Part) -> Iterator[Event]:
        """Do `part`. The last event is Over or Failed."""

    def preview(self, part_id: str) -> bytes | None:
        """The present guess of a part that is being made, as a PNG; None if there is none. Answered meanwhile."""

    def stop(self, part_id: str, wish: Wish) -> None:
        """Interrupt that part, or skip its present batch. Answered meanwhile."""

    def unload(self) -> None:
        """Drop every network, after the part that is being made."""


class EngineCrew:
    """An engine as a worker: a thread of its own does all parts. Of config.json it holds what each part brings."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, "worker")
        self._jobs: dict[str, _PartJob] = {}

    def about(self) -> About:
        settings = self._engine.settings
        return About(socket.gethostname(), compute_device(settings), os.getpid(), what_is_same(settings))

    def make(self, part: Part) -> Iterator[Event]:
        job = self._jobs[part.id] = _PartJob(part)
        try:
            self._thread.submit(self._do, part, job)
            while True:
                event = job.events.get()
                if isinstance(event, Made) and part.form:  # while the engine makes the next batch in its own thread
                    event = _with_files(event, part.form)
                yield event
                if isinstance(event, Over | Failed):
                    return
        finally:  # also when nobody listens any more
            job.stop("interrupt")
            del self._jobs[part.id]

    def preview(self, part_id: str) -> bytes | None:
        job = self._jobs.get(part_id)
        if job is None or job.preview is None:
            return None
        file = io.BytesIO()
        job.preview().save(file, "PNG", compress_level=1)
        return file.getvalue()

    def stop(self, part_id: str, wish: Wish) -> None:
        if job := self._jobs.get(part_id):
            job.stop(wish)

    def unload(self) -> None:
        self._thread.submit(self._engine.unload).result()

    def _do(self, part: Part, job: _PartJob) -> None:
        with tempfile.TemporaryDirectory(prefix="inpaint-webui-steps-") as folder:
            job.folder = Path(folder)
            try:
                self._engine.config.hold(part.config)
                self._check_file(part)
                made = self._made(part, job)
            except Stopped as stop:
                made = Result((), part.request, interrupted=isinstance(stop, Interrupted))
            except BaseException as error:  # an extension may call sys.exit; the worker must survive it
                found = explained(error, part.id)
                job.events.put(Failed(found, isinstance(found, _Lacking)))
                return
            for file in job.recordings:
                if file.is_file():
                    job.events.put(Recorded(file.read_bytes()))
        loaded = self._engine.loaded
        job.events.put(Over(made.warnings, made.interrupted, made.work, made.maps,
                            changed(part.request, made.request), self._warm(), memory_in_use(),
                            loaded.model.inputs if loaded else None, job.order(made.images)))

    def _made(self, part: Part, job: _PartJob) -> Result:
        engine, request = self._engine, part.request
        hooks = engine.hooks(job, part.arguments, part.switched_off)
        if part.kind == "load":
            engine.warm(request.options, job)
            return Result((), request)
        if part.kind == "script":
            made = engine.carry_out(request, job, hooks)
        else:
            made = engine.make(request, job, part.extra, None, hooks, part.numbers)
        return dataclasses.replace(made, warnings=(*made.warnings, *hooks.warnings))

    def _check_file(self, part: Part) -> None:
        """Raise the NotFound of a worker without the part's checkpoint, or with another file of that name."""
        engine = self._engine
        try:
            checkpoint, _ = engine.files_of(part.request.options)
        except NotFound as error:
            raise _Lacking(f"{error.message} It was looked for on {socket.gethostname()} in "
                           f"{engine.settings.checkpoint_dirs[0]}.") from error
        if checkpoint and part.digest and engine.catalog.sha256(checkpoint) != part.digest:
            raise _Lacking(f"{checkpoint.filename} in {engine.settings.checkpoint_dirs[0]} on {socket.gethostname()} "
                           "is another file than the server's of that name.")

    def _warm(self) -> frozenset[str]:
        return frozenset(one.checkpoint.filename for one in self._engine.models.in_memory())


def _with_files(made: Made, form: Format) -> Made:
    with contextlib.suppress(Exception):  # the server tries it again, and tells what is wrong
        return dataclasses.replace(made, files=tuple(encoded(one, form) for one in made.images))
    return made


class _Lacking(NotFound):
    """This worker has not got the file."""


class _PartJob:
    """The `JobContext` of a part: what the engine tells becomes events."""

    def __init__(self, part: Part) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.saves = part.form is not None
        self.preview: Preview | None = None
        self.recordings: list[Path] = []
        self.folder = Path()
        self._part = part
        self._kept: list[GeneratedImage] = []
        self._interrupted = self._skipped = False
        self._lock = threading.Lock()
        self._told = -STEP_SECONDS
        self._stage = ""

    def stop(self, wish: Wish) -> None:
        with self._lock:
            self._interrupted |= wish == "interrupt"
            self._skipped |= wish == "skip"

    def check(self) -> None:
        with self._lock:
            if self._interrupted:
                raise Interrupted
            if self._skipped:
                self._skipped = False
                raise Skipped

    def stage(self, text: str) -> None:
        if text != self._stage:  # a loader tells each of thousands of tensors
            self._stage = text
            self.events.put(Stage(text))

    def batches(self, done: int, total: int) -> None:
        with self._lock:
            self._skipped = False
        self.events.put(Begun(done, max(total, 1)))

    def step(self, step: int, total: int, preview: Preview) -> None:
        self.preview = preview
        now = time.monotonic()
        if now - self._told >= STEP_SECONDS or step == total:
            self._told = now
            self.events.put(Step(step, total))
        self.check()

    def keep(self, images: Sequence[GeneratedImage], request: Txt2Img) -> tuple[GeneratedImage, ...]:
        self._kept += images
        self.events.put(Made(tuple(images), changed(self._part.request, request)))
        return tuple(images)

    def recording(self) -> Path | None:
        if len(self.recordings) > MOST_RECORDINGS:
            return None
        self.recordings.append(self.folder / f"{len(self.recordings)}.safetensors")
        if len(self.recordings) > MOST_RECORDINGS:
            raise EnoughRecorded(MOST_RECORDINGS)
        return self.recordings[-1]

    def order(self, images: Sequence[GeneratedImage]) -> tuple[int | GeneratedImage, ...]:
        """`images`, those that were kept by their numbers. Only a script has an order of its own."""
        if self._part.kind != "script":
            return ()
        numbers = {id(one): number for number, one in enumerate(self._kept)}
        return tuple(numbers.get(id(one), one) for one in images)


def changed(asked: Txt2Img, carried_out: Txt2Img) -> dict[str, Any]:
    """The fields of `carried_out` that are not the very objects of `asked`."""
    return {one.name: value for one in dataclasses.fields(carried_out)
            if (value := getattr(carried_out, one.name)) is not getattr(asked, one.name, None)}


def what_is_same(settings: Settings) -> dict[str, str]:
    """What has to be the same at all workers for their pictures to be the same, by its name on the screen."""
    found = {"the program": VERSION, "Python": platform.python_version()}
    for package in SAME_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found | {"the program's files": _digest_of((PROJECT / "modules",)),
                    "the extensions": _digest_of(settings.extension_dirs)}


@functools.cache
def _digest_of(folders: tuple[Path, ...]) -> str:
    """Of the Python files below `folders`, by their paths there: 10 hex digits."""
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted(folder.rglob("*.py")) if folder.is_dir() else ():
            digest.update(f"{file.relative_to(folder).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:10]
