"""The interface through which scripts and extensions use the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from PIL import Image

from modules.hooks.choices import Available
from modules.request import Txt2Img
from modules.request.job_context import Preview
from modules.request.result import GeneratedImage, Result
from modules.text.styles import Style

if TYPE_CHECKING:
    from modules.sampling.types import FirstNoise


class GenerationContext(Protocol):
    """The engine as a script or an extension sees it, inside one job. `modules.scripts.context.Context` is the one
    implementation.

    All that is made through it counts as one job: one progress bar, one Interrupt, one Skip.
    """

    available: Available
    styles: Sequence[Style]
    interrupted: bool
    warnings: list[str]

    def resolve(self, request: Txt2Img) -> Txt2Img:
        """Return `request` with random seeds drawn and full sampler names. Raises InvalidInput."""

    def check(self, request: Txt2Img) -> None:
        """Raise the UserError that `generate` would begin with."""

    def text(self, request: Txt2Img, extra: Mapping[str, Any]) -> str:
        """Return the parameters text of a resolved `request`, with the keys of `extra` added."""

    def enlarge(self, upscaler: str, image: Image.Image, factor: float) -> Image.Image:
        """Return `image` enlarged by the upscaler of that name. Raises InvalidInput, CheckpointError."""

    def plan(self, batches: int) -> None:
        """Announce the total number of batches, before the first one. Raises InvalidInput for too many."""

    def generate(self, request: Txt2Img, *, keep: bool = True, extra: Mapping[str, Any] | None = None,
                 first_noise: FirstNoise | None = None) -> Result:
        """Carry out one request without a script. After an interruption the result is empty.

        `keep` hands the pictures to the job, which saves them. `extra` adds keys to their parameters text.
        `first_noise` makes the noise that sampling starts from. Raises UserError.
        """

    def generate_all(self, requests: Sequence[Txt2Img], *, extras: Sequence[Mapping[str, Any]] | None = None,
                     first_noise: FirstNoise | None = None, lenient: bool = False) -> list[Result]:
        """Carry out requests of which none needs the pictures of another, with several workers at the same time. The
        rest is as in `generate`, with `extras` for each.

        With `lenient` a request that fails becomes a warning and an empty result, unless none before it made a picture.
        """

    def step(self, step: int, total: int, preview: Preview) -> None:
        """Report one step of work other than sampling. Raises Interrupted, Skipped."""

    def keep(self, images: Sequence[GeneratedImage], request: Txt2Img) -> tuple[GeneratedImage, ...]:
        """Hand finished pictures to the job, which saves them. Return them with their paths."""

    def stage(self, text: str) -> None:
        """Set the text that describes the current activity on the page. Raises Interrupted."""
