"""The context of a script: it carries out inner requests inside one job."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from PIL import Image

from modules.errors import Interrupted, InvalidInput, Skipped, UserError
from modules.hooks.choices import Available
from modules.hooks.in_job import Hooks
from modules.request import Img2Img, Inpaint, Txt2Img, seed_after
from modules.request.job_context import JobContext, Preview, SubJob
from modules.request.result import GeneratedImage, Result
from modules.text.styles import Style

if TYPE_CHECKING:
    from modules.imaging.upscale import Upscalers
    from modules.sampling.types import FirstNoise

log = logging.getLogger(__name__)

AnyRequest = TypeVar("AnyRequest", bound=Txt2Img)

LARGEST = 200 * 10**6
"""The most pixels of a picture that a script composes (WebUI's `img_max_size_mp`)."""

MOST_BATCHES = 10_000


class EngineView(Protocol):
    """What the context needs of the engine."""

    @property
    def upscalers(self) -> Upscalers: ...

    def resolve(self, request: Txt2Img, /) -> Txt2Img: ...

    def check(self, request: Txt2Img, /) -> None: ...

    def text(self, request: Txt2Img, extra: Mapping[str, Any], /) -> str: ...

    def generate_together(self, requests: Sequence[Txt2Img], job: JobContext, /, *, extras: Sequence[Mapping[str, Any]],
                          hooks: Hooks, lenient: bool) -> list[Result | UserError] | None: ...

    def generate_one(self, request: Txt2Img, job: JobContext, /, *, extra: Mapping[str, Any],
                     first_noise: FirstNoise | None, hooks: Hooks) -> Result: ...


class Context:
    """A script's view of the job in which it runs.

    Everything that the script makes counts as one job, with one progress bar, one Interrupt and one Skip. `hooks` are
    the extensions that are called for its inner requests.
    """

    def __init__(self, engine: EngineView, job: JobContext, available: Available, styles: Sequence[Style],
                 hooks: Hooks | None = None) -> None:
        self._engine, self._job, self._hooks = engine, job, hooks or Hooks()
        self.available, self.styles = available, styles
        self.interrupted = False
        self.warnings: list[str] = []
        self._done, self._total = 0, 1

    def resolve(self, request: Txt2Img) -> Txt2Img:
        """`request` with random seeds drawn and full sampler names. Raises InvalidInput."""
        return self._engine.resolve(request)

    def check(self, request: Txt2Img) -> None:
        """Raise the UserError with which `generate` would refuse `request` before it starts."""
        self._engine.check(request)

    def text(self, request: Txt2Img, extra: Mapping[str, Any]) -> str:
        """The parameters text of a resolved `request`, with the keys of `extra` added."""
        return self._engine.text(request, {**self._hooks.keys(request), **extra})

    def enlarge(self, upscaler: str, image: Image.Image, factor: float) -> Image.Image:
        """`image` enlarged by the upscaler of that name; a warning says when another does its work. Raises
        InvalidInput, CheckpointError."""
        self.stage("Enlarging")
        if (sentence := self._engine.upscalers.stand_in(upscaler)) and sentence not in self.warnings:
            self.warnings.append(sentence)

        def on_tile(done: int, total: int) -> None:
            self.stage(f"Enlarging: {done} of {total}")

        return self._engine.upscalers.find(upscaler, on_tile)(image, factor)

    def plan(self, batches: int) -> None:
        """Announce the total number of batches, before the first one. Raises InvalidInput for too many."""
        if batches > MOST_BATCHES:
            raise InvalidInput(f"That makes {batches} batches; at most {MOST_BATCHES} are made at a time.",
                               field="script_args")
        self._total = max(batches, 1)

    def generate(self, request: Txt2Img, *, keep: bool = True, extra: Mapping[str, Any] | None = None,
                 first_noise: FirstNoise | None = None) -> Result:
        """Carry out one inner request. After an interruption nothing is made and the result is empty.

        With `keep` its pictures go to the job, which saves them. `extra` adds keys to their parameters text.
        `first_noise` makes the noise that sampling starts from. Raises UserError.
        """
        if self.interrupted:
            return Result((), request, interrupted=True)
        part = _InnerJob(self._job, self._done, self._total, keep=keep)
        result = self._engine.generate_one(request, part, extra=extra or {}, first_noise=first_noise, hooks=self._hooks)
        return self._noted(request, result)

    def generate_all(self, requests: Sequence[Txt2Img], *, extras: Sequence[Mapping[str, Any]] | None = None,
                     first_noise: FirstNoise | None = None, lenient: bool = False) -> list[Result]:
        """Carry out requests of which none needs the pictures of another: at the same time where there are several
        workers, else one after the other. The pictures go to the job.

        The rest is as in `generate`; `extras` are for each request. With `lenient` a request that fails becomes a
        warning and an empty result, unless none before it made a picture: its error is raised then.
        """
        extras = extras or [{}] * len(requests)
        if first_noise is None and len(requests) > 1 and not self.interrupted:
            part = _InnerJob(self._job, self._done, self._total, keep=True)
            together = self._engine.generate_together(requests, part, extras=extras, hooks=self._hooks,
                                                      lenient=lenient)
            if together is not None:
                return [self._noted(request, self._forgiven(request, one))
                        for request, one in zip(requests, together, strict=True)]
        made: list[Result] = []
        for request, extra in zip(requests, extras, strict=True):
            try:
                made.append(self.generate(request, extra=extra, first_noise=first_noise))
            except (UserError, RuntimeError) as error:  # RuntimeError: from torch, for example out of memory
                if not lenient or not any(one.images for one in made):
                    raise
                made.append(self._forgiven(request, error))
        return made

    def _noted(self, request: Txt2Img, result: Result) -> Result:
        """`result`, whose warnings are the script's, and whose batches are done."""
        self._done += request.n_iter
        self.interrupted |= result.interrupted
        self.warnings += [words for words in result.warnings if words not in self.warnings]
        return result

    def _forgiven(self, request: Txt2Img, result: Result | Exception) -> Result:
        """An empty result and a warning in the place of an error."""
        if isinstance(result, Result):
            return result
        if isinstance(result, UserError):
            self.warnings.append(result.message)
        else:
            log.error("One of several requests failed.", exc_info=result)
            self.warnings.append("A cell of the plot failed; the server's log says why.")
        return Result((), request)

    def step(self, step: int, total: int, preview: Preview) -> None:
        """Report one step of work other than sampling. Raises Interrupted, Skipped."""
        self._job.step(step, total, preview)

    def keep(self, images: Sequence[GeneratedImage], request: Txt2Img) -> tuple[GeneratedImage, ...]:
        """Give finished pictures to the job, which saves them. Returns them with their paths."""
        kept = self._job.keep(images, request)
        for image in kept:
            self._hooks.saved(image, request)
        return kept

    def stage(self, text: str) -> None:
        """Set the text that describes the current activity. Raises Interrupted; a skip is ignored here."""
        try:
            self._job.stage(text)
            with contextlib.suppress(Skipped):
                self._job.check()
        except Interrupted:
            self.interrupted = True
            raise


def check_size(width: int, height: int) -> None:
    """Raise InvalidInput if a composed picture of that size would be too large."""
    if width * height > LARGEST:
        raise InvalidInput(f"That makes a picture of {width} x {height} pixels; at most {LARGEST // 10**6} million are "
                           "put together.", field="script_args")


def later(request: AnyRequest, count: int) -> AnyRequest:
    """`request` with its seed advanced by `count`. After the largest seed comes 0."""
    return replace(request, seed=seed_after(request.seed, count))


def as_inpaint(request: Img2Img, mask: Image.Image) -> Inpaint:
    """`request` as an Inpaint with `mask`. Fields that only an Inpaint has are kept or get their defaults."""
    if isinstance(request, Inpaint):
        return replace(request, mask=mask)
    return Inpaint(**{one.name: getattr(request, one.name) for one in fields(request)}, mask=mask)


class _InnerJob(SubJob):
    """The job as one inner request sees it: its batches count as a part of the `total`, after the `done` ones."""

    def __init__(self, job: JobContext, done: int, total: int, *, keep: bool) -> None:
        super().__init__(job)
        self._done, self._total, self._keep = done, total, keep

    @property
    def saves(self) -> bool:
        return self._keep and super().saves

    def batches(self, done: int, total: int) -> None:
        super().batches(self._done + done, max(self._total, self._done + total))

    def keep(self, images: Sequence[GeneratedImage], request: Txt2Img) -> tuple[GeneratedImage, ...]:
        return super().keep(images, request) if self._keep else tuple(images)


class NestedJob(SubJob):
    """The job as an extension sees it while it makes a picture of its own inside another one.

    It can be stopped, and it sets the text of the current activity. It does not change the job's progress, preview or
    pictures.
    """

    saves = False

    def check(self) -> None:
        """Raise Interrupted if an interruption or a skip was requested. The outer picture has no use for half of this
        one."""
        try:
            super().check()
        except Skipped as skipped:
            raise Interrupted from skipped

    def batches(self, done: int, total: int) -> None: ...

    def step(self, step: int, total: int, preview: Preview) -> None:
        self.check()

    def keep(self, images: Sequence[GeneratedImage], request: Txt2Img) -> tuple[GeneratedImage, ...]:
        return tuple(images)

    def recording(self) -> Path | None:
        return None
