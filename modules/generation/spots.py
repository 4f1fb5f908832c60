"""Each spot by itself: the parts of a mask that do not touch are made anew one after another, each Only masked.

A spot's pass starts from the result of the one before, so that all of them are in one picture. The picture's seed is
the first spot's; each spot has the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from modules.generation import batch, recipes
from modules.generation.batch import Outcome, Picture
from modules.generation.control import NO_NETWORKS, ControlTools
from modules.generation.detail import Detail
from modules.hooks.in_job import Hooks
from modules.imaging.faces import Restore
from modules.imaging.framing import spot_masks, used_mask
from modules.imaging.mask import MOST_SPOTS, of_size
from modules.imaging.remove import Removers
from modules.imaging.upscale import Upscalers
from modules.request import Inpaint, Txt2Img, seed_after
from modules.request.job_context import JobContext, SubJob
from modules.request.spot_prompts import spot_prompts
from modules.sampling.registry import SAMPLERS, Sampler
from modules.sampling.types import FirstNoise


def generate(models: batch.Models, request: Txt2Img, job: JobContext,
             on_batch: batch.OnBatch = lambda pictures, happened: None, first_noise: FirstNoise | None = None,
             upscalers: Upscalers = batch.NO_MODELS, samplers: Sequence[Sampler] = SAMPLERS,
             hooks: Hooks | None = None, restore: Restore | None = None,
             removers: Removers = recipes.NO_FILES, tools: ControlTools = NO_NETWORKS,
             detail: Detail | None = None, numbers: Sequence[int] | None = None) -> Outcome:
    """Like `recipes.generate`, also for a request that asks for each spot by itself."""

    def once(one: Txt2Img, part: JobContext, told: batch.OnBatch, numbers: Sequence[int] | None = None) -> Outcome:
        return recipes.generate(models, one, part, told, first_noise, upscalers, samplers, hooks, restore,
                                removers, tools, detail, numbers)

    if not isinstance(request, Inpaint) or not request.each_spot or not request.only_masked:
        return once(request, job, on_batch, numbers)
    masks = spot_masks(request)
    if not 0 < len(masks) <= MOST_SPOTS:
        outcome = once(request, job, on_batch, numbers)
        many = (f"The mask has {len(masks)} spots; more than {MOST_SPOTS} are painted together.",) if masks else ()
        return replace(outcome, warnings=(*many, *outcome.warnings))
    prompts, warnings = spot_prompts(request.prompt, len(masks))
    made: list[Picture] = []
    outcome = Outcome(())
    numbers = range(request.n_iter) if numbers is None else numbers
    happened: dict[str, Any] = {}
    for done, number in enumerate(numbers):
        happened.clear()
        seeds, subseeds = batch.batch_seeds(request, number)
        pictures: tuple[Picture, ...] = ()
        for spot, mask in enumerate(masks):
            part = _Part(job, done * len(masks) + spot, len(numbers) * len(masks))
            inner = replace(_alone(request, mask, pictures), prompt=prompts[spot], seed=seed_after(seeds[0], spot),
                            subseed=seed_after(subseeds[0], spot))
            outcome = once(inner, part, lambda pictures, keys: happened.update(keys))
            pictures = outcome.pictures or pictures
            warnings = tuple(dict.fromkeys((*warnings, *outcome.warnings)))
            if outcome.interrupted:
                break
        finished = [replace(one, seed=seed, subseed=subseed, extras=_extras(request, one.image))
                    for one, seed, subseed in zip(pictures, seeds, subseeds, strict=False)]
        if finished:
            on_batch(finished, happened)
        made += finished
        if outcome.interrupted:
            break
    return replace(outcome, pictures=tuple(made), warnings=warnings)


def _alone(request: Inpaint, mask: Image.Image, before: Sequence[Picture]) -> Inpaint:
    """The request for one spot, whose L mask is `mask`. It starts from the pictures `before`, if there are any."""
    options = request.options.replaced({"return_mask": False, "return_mask_composite": False, "overlay_inpaint": True})
    alone = replace(request, mask=mask, mask_invert=False, each_spot=False, only_masked_frame="", n_iter=1,
                    options=options)
    if not before:
        return alone
    photographs = tuple(one.photograph for one in before if one.photograph)
    return replace(alone, init_images=tuple(one.image for one in before),
                   photographs=photographs if len(photographs) == len(before) else ())


def _extras(request: Inpaint, image: Image.Image) -> tuple[Image.Image, ...]:
    """The mask of all spots and the composite, when the options ask for them."""
    options, extras = request.options, []
    if not options.return_mask and not options.return_mask_composite:
        return ()
    mask = of_size(used_mask(request), image.size)
    if options.return_mask:
        extras.append(mask.convert("RGB"))
    if options.return_mask_composite:
        clear = Image.new("RGBa", image.size)
        extras.append(Image.composite(image.convert("RGBA").convert("RGBa"), clear, mask).convert("RGBA"))
    return tuple(extras)


class _Part(SubJob):
    """The job as one spot's pass sees it: the pass counts as one of `total` batches, after the `done` ones."""

    def __init__(self, job: JobContext, done: int, total: int) -> None:
        super().__init__(job)
        self._done, self._total = done, total

    def batches(self, done: int, total: int) -> None:
        super().batches(self._done + done, self._total)
