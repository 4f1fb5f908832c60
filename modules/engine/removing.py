"""Carries out Remove as a job: no checkpoint, no prompt, and the result kept and saved like any other."""

from __future__ import annotations

import random

from PIL import Image

from modules.imaging.mask import prepare
from modules.imaging.remove import Removers, check_mask
from modules.request import RANDOM_SEEDS, Inpaint
from modules.request.job_context import JobContext
from modules.request.result import GeneratedImage, Result
from modules.text import infotext


def remove(request: Inpaint, removers: Removers, job: JobContext) -> Result:
    """The picture of `request` with the painted part filled from the rest; the mask is used without its blur.

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
    return Result(job.keep([GeneratedImage(result, seed, -1, text)], request), request)


def painted(request: Inpaint) -> Image.Image:
    """The L mask that counts. Raises InvalidInput for one with which nothing can be removed."""
    mask = prepare(request.mask, invert=request.mask_invert, blur_x=0, blur_y=0, hard=request.mask_round)
    check_mask(request.init_images[0], mask)
    return mask
