"""Inpainting with each family: what is kept stays, and what makes steps cheaper works with its UNet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from golden.tiny import kind_of, tiny_bench
from PIL import Image, ImageDraw

from modules.request import Inpaint
from modules.request.job_context import NullJob
from modules.request.options import Options

PICTURE = Image.linear_gradient("L").resize((128, 128)).convert("RGB")
CHECKPOINTS = ("tiny-sd15-v", "tiny-ip2p", "tiny-sd21-v", "tiny-sdxl", "tiny-sdxl-inpainting")


def mask() -> Image.Image:
    drawn = Image.new("L", (128, 128))
    ImageDraw.Draw(drawn).rectangle((40, 40, 71, 71), fill=255)
    return drawn


def painted(checkpoint: str, **options: Any) -> np.ndarray:
    request = Inpaint(prompt="a cat", steps=8, width=128, height=128, seed=5, subseed=0, init_images=(PICTURE,),
                      mask=mask(), mask_blur_x=0, mask_blur_y=0, image_cfg_scale=1.5,
                      options=Options().replaced({"sd_model_checkpoint": checkpoint, **options}))
    (made,) = tiny_bench(kind_of(checkpoint)).engine.generate(request, NullJob()).images
    return np.asarray(made.image, int)


@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
@pytest.mark.parametrize("options", [{}, {"ddim_loop": "webui-1.10"}, {"small_mask": "strong"}, {"step_cache": 3},
                                     {"tiling": True}],
                         ids=["classic", "webui-1.10", "small masks", "step cache", "tiling"])
def test_what_is_kept_stays_and_the_hole_is_painted(checkpoint: str, options: dict[str, Any]) -> None:
    made, hole = painted(checkpoint, **options), np.asarray(mask()) > 0
    before = np.asarray(PICTURE, int)
    assert np.array_equal(made[~hole], before[~hole])
    assert np.abs(made[hole] - before[hole]).mean() > 5


@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_small_masks_give_nearly_the_same_picture(checkpoint: str) -> None:
    """With "auto" the window is as exact as it is for Stable Diffusion 1.x."""
    hole = np.asarray(mask()) > 0
    whole, window = painted(checkpoint), painted(checkpoint, small_mask="auto")
    assert np.abs(whole[hole] - window[hole]).mean() < 2
