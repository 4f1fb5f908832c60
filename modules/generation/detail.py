"""The detailer: things are looked for in a finished picture, and each is inpainted by itself at full resolution."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from PIL import Image

from modules.errors import Stopped, UserError
from modules.hooks.types import GenerationContext
from modules.imaging.detectors.find import Detect
from modules.imaging.detectors.masks import chosen, masks_of
from modules.request import Inpaint, MaskedContent, Txt2Img, seed_after
from modules.request.detail import SAME_SAMPLER, SAME_SCHEDULER, DetailPass, prompts_of

Detail = Callable[[Image.Image, int, Txt2Img], Image.Image]
"""(RGB picture, its seed, its request) -> the picture with its finds painted anew, of the same size."""

MOST_FINDS = 50
"""Of one pass. The rest stay as they are."""


@dataclass(frozen=True)
class Detailer:
    """The passes of one job, each with its detector. `context` is made anew for each picture; `warn` is told sentences.
    A pass that fails leaves the picture as it was."""

    passes: Sequence[tuple[DetailPass, Detect]]
    context: Callable[[], GenerationContext]
    warn: Callable[[str], None]

    def __call__(self, image: Image.Image, seed: int, request: Txt2Img) -> Image.Image:
        """A `Detail`. The finds of a pass have consecutive seeds from the picture's own. Interrupt keeps those that are
        finished."""
        context = self.context()
        for asked, detect in self.passes:
            try:
                for better in self._passed(image, seed, request, asked, detect, context):
                    image = better  # which stays, whatever happens to the next find
            except Stopped:
                break  # the job itself stops at its next step
            except UserError as error:
                self.warn(f"The detailer left a picture as it was: {error.message}")
        return image

    def _passed(self, image: Image.Image, seed: int, request: Txt2Img, asked: DetailPass,
                detect: Detect, context: GenerationContext) -> Iterator[Image.Image]:
        """Yield the picture after each find of one pass."""
        context.stage("Looking for what is to be detailed")
        finds = chosen(detect(image, asked.confidence), asked, image.size, request.options.ad_bbox_sortby)
        if len(finds) > MOST_FINDS:
            self.warn(f"The detailer found {len(finds)} places; {MOST_FINDS} of them were painted anew.")
        masks = masks_of(finds[:MOST_FINDS], asked, image.size)
        prompts = prompts_of(asked.prompt, request.prompt, len(masks))
        negatives = prompts_of(asked.negative_prompt, request.negative_prompt, len(masks))
        for number, (mask, prompt, negative) in enumerate(zip(masks, prompts, negatives, strict=True)):
            if prompt is None:
                continue
            context.stage(f"Detailer: {number + 1} of {len(masks)}")
            inner = _inner(request, asked, image, mask) | {
                "prompt": prompt, "negative_prompt": negative or "", "seed": seed_after(seed, number)}
            made = context.generate(Inpaint(**inner), keep=False)
            for sentence in made.warnings:
                self.warn(sentence)
            if made.interrupted:
                break
            if made.images:
                image = made.images[0].image
                yield image


def _inner(request: Txt2Img, asked: DetailPass, image: Image.Image, mask: Image.Image) -> dict[str, Any]:
    """The values of the request that inpaints what is white in `mask`. What is not set here is as in `request`."""
    options: dict[str, Any] = {"return_mask": False, "return_mask_composite": False, "overlay_inpaint": True,
                               "face_restoration": asked.restore_face} | asked.files()
    if asked.use_clip_skip:
        options["CLIP_stop_at_last_layers"] = asked.clip_skip
    values: dict[str, Any] = {one.name: getattr(request, one.name) for one in fields(Txt2Img)} | {
        "init_images": (image,), "mask": mask, "n_iter": 1, "batch_size": 1, "subseed_strength": 0.0,
        "denoising_strength": asked.denoising_strength, "only_masked": asked.inpaint_only_masked,
        "only_masked_padding": asked.inpaint_only_masked_padding, "mask_blur_x": asked.mask_blur,
        "mask_blur_y": asked.mask_blur, "masked_content": MaskedContent.ORIGINAL, "enable_hr": False,
        "refiner_checkpoint": "", "script": None, "always_on": (), "detail": (),
        "control_units": asked.units(request.control_units), "go_on_after": 0,
        "record_steps": False, "replayed": None, "first_pass": None, "options": request.options.replaced(options)}
    if not asked.inpaint_only_masked:
        values |= {"width": image.width, "height": image.height}
    if asked.use_inpaint_width_height:
        values |= {"width": asked.inpaint_width, "height": asked.inpaint_height}
    if asked.use_steps:
        values["steps"] = asked.steps
    if asked.use_cfg_scale:
        values["cfg_scale"] = asked.cfg_scale
    if asked.use_noise_multiplier:
        values["initial_noise_multiplier"] = asked.noise_multiplier
    if asked.use_sampler:
        values |= {"sampler": asked.sampler} if asked.sampler != SAME_SAMPLER else {}
        values |= {"scheduler": asked.scheduler} if asked.scheduler != SAME_SCHEDULER else {}
    return values
