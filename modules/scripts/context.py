"""What a script is given: the engine for one inner request at a time, inside one job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from modules.errors import Interrupted, InvalidInput, Skipped
from modules.progress import JobContext, Preview
from modules.request import Txt2Img
from modules.result import GeneratedImage, Result
from modules.scripts.available import Available
from modules.styles import Style

if TYPE_CHECKING:
    from modules.batches import FirstNoise

LARGEST = 200 * 10**6
"""Pixels of the largest picture that a script puts together (WebUI's `img_max_size_mp`)."""

MOST_BATCHES = 10_000


class Machine(Protocol):
    """What a script's context wants of the engine."""

    def resolve(self, request: Txt2Img, /) -> Txt2Img: ...

    def make(self, request: Txt2Img, job: JobContext, /, *, extra: Mapping[str, Any],
             first_noise: FirstNoise | None) -> Result: ...


class Context:
    """A script's view of the job it runs in. Everything that it makes counts as one job: previews, progress over the
    whole, Interrupt and Skip."""

    def __init__(self, machine: Machine, job: JobContext, available: Available, styles: Sequence[Style]) -> None:
        self._machine, self._job = machine, job
        self.available, self.styles = available, styles
        self.interrupted = False
        self.warnings: list[str] = []
        self._done, self._total = 0, 1

    def resolve(self, request: Txt2Img) -> Txt2Img:
        """`request` with its seeds drawn and its names spelt out. Raises InvalidInput."""
        return self._machine.resolve(request)

    def plan(self, batches: int) -> None:
        """Says how many batches there will be in all, before the first. Raises InvalidInput for too many."""
        if batches > MOST_BATCHES:
            raise InvalidInput(f"That makes {batches} batches; at most {MOST_BATCHES} are made at a time.",
                               field="script_args")
        self._total = max(batches, 1)

    def generate(self, request: Txt2Img, *, keep: bool = True, extra: Mapping[str, Any] | None = None,
                 first_noise: FirstNoise | None = None) -> Result:
        """Carries one inner request out; after an interruption nothing more is made, and the result is empty.

        `keep` hands its pictures over as finished ones. `extra` adds keys to their parameters text. `first_noise` makes
        the noise that sampling starts from. Raises UserError.
        """
        if self.interrupted:
            return Result((), request, interrupted=True)
        result = self._machine.make(request, _Part(self._job, self._done, self._total, keep=keep), extra=extra or {},
                                    first_noise=first_noise)
        self._done += request.n_iter
        self.interrupted = result.interrupted
        self.warnings += [words for words in result.warnings if words not in self.warnings]
        return result

    def skip(self, batches: int) -> None:
        """Counts batches that will not be made as done."""
        self._done += batches
        self._job.batches(min(self._done, self._total), self._total)

    def keep(self, images: Sequence[GeneratedImage], request: Txt2Img) -> tuple[GeneratedImage, ...]:
        """Hands finished pictures over, which saves them; returns them with their paths."""
        return self._job.keep(images, request)

    def stage(self, text: str) -> None:
        """Names what is being done now. Sees to it that an interruption between two requests is noticed."""
        self._job.stage(text)
        try:
            self._job.check()
        except Interrupted:
            self.interrupted = True
        except Skipped:
            pass


def check_size(width: int, height: int) -> None:
    """Raises InvalidInput when a picture that is to be put together is too large."""
    if width * height > LARGEST:
        raise InvalidInput(f"That makes a picture of {width} x {height} pixels; at most {LARGEST // 10**6} million are "
                           "put together.", field="script_args")


class _Part:
    """The job as one inner request sees it: its batches are some of the whole's."""

    def __init__(self, job: JobContext, done: int, total: int, *, keep: bool) -> None:
        self._job, self._done, self._total, self._keep = job, done, total, keep

    def check(self) -> None:
        self._job.check()

    def stage(self, text: str) -> None:
        self._job.stage(text)

    def batches(self, done: int, total: int) -> None:
        self._job.batches(self._done + done, max(self._total, self._done + total))

    def step(self, step: int, total: int, preview: Preview) -> None:
        self._job.step(step, total, preview)

    def keep(self, images: Sequence[GeneratedImage], request: Txt2Img) -> tuple[GeneratedImage, ...]:
        return self._job.keep(images, request) if self._keep else tuple(images)
