"""Carries out Remove as a job: no checkpoint, no prompt, and the result kept and saved like any other."""

from __future__ import annotations

import random

import numpy as np
from PIL import Image

from modules.engine import redo
from modules.imaging.mask import prepare
from modules.imaging.photograph import painted as put_into
from modules.imaging.photograph import with_pixels
from modules.imaging.remove import Removers, check_mask
from modules.request import RANDOM_SEEDS, Inpaint
from modules.request.job_context import JobContext
from modules.request.photograph import Photograph
from modules.request.result import GeneratedImage, Result
from modules.text import infotext


def remove(request: Inpaint, removers: Removers, job: JobContext) -> Result:
    """The picture of `request` with the painted part filled from the rest; the mask is used without its blur.
    A photograph of the request keeps its depth, profile and metadata, and the record of its edits goes on.

    Raises InvalidInput for a mask that cannot be used and for a model that is not there, RemoveFailed, CheckpointError,
    StorageFull, CannotSave and Stopped.
    """
    image, mask = request.init_images[0], painted(request)
    name = removers.full_name(request.options.remove_model)
    seed = random.randrange(RANDOM_SEEDS) if request.seed == -1 else request.seed
    job.stage(f"Removing with {name}")

    def on_spot(done: int, total: int, so_far: Image.Image) -> None:
        job.step(done, total, lambda: so_far)

    result = removers.remove(image, mask, name=name, seed=seed, check=job.check, on_spot=on_spot)
    text = infotext.write_removed(name, seed, result.size)
    photograph = request.photograph(0)
    warnings = photograph.warnings if photograph else ()
    if photograph:
        photograph = redo.recorded_removal(_retouched(photograph, result, mask), photograph, request, mask, text)
        result = photograph.image
    made = GeneratedImage(result, seed, -1, text, photograph=photograph)
    return Result(job.keep([made], request), request, warnings)


def _retouched(photograph: Photograph, result: Image.Image, mask: Image.Image) -> Photograph:
    """`photograph` with what `result` has where the mask is not 0, in its own depth and colours."""
    if photograph.is_plain:
        return with_pixels(photograph, np.asarray(result), result)
    return put_into(photograph, result, mask.point(lambda value: 255 if value else 0))  # `result` is blended already


def painted(request: Inpaint) -> Image.Image:
    """The L mask that counts. Raises InvalidInput for one with which nothing can be removed."""
    mask = prepare(request.mask, invert=request.mask_invert, blur_x=0, blur_y=0, hard=request.mask_round)
    check_mask(request.init_images[0], mask)
    return mask
