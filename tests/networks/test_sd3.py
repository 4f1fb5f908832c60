"""Stable Diffusion 3 through the whole program."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from golden.tiny import tiny_bench
from PIL import Image, ImageDraw

from modules.errors import InvalidInput
from modules.request import Inpaint, Txt2Img
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.sampling.conditioning import TextOptions

PICTURE = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
SMALL: dict[str, Any] = {"prompt": "a cat", "steps": 6, "width": 64, "height": 64, "seed": 5, "subseed": 0,
                         "options": Options().replaced({"sd_model_checkpoint": "tiny-sd3"})}


@pytest.mark.parametrize("sampler", ["Euler", "DDIM", "UniPC"])
def test_inpainting_keeps_what_is_kept(sampler: str) -> None:
    """To the last bit: the pixels outside the mask, and the latent's kept cells."""
    mask = Image.new("L", (64, 64))
    ImageDraw.Draw(mask).rectangle((16, 16, 39, 39), fill=255)
    bench = tiny_bench("tiny-sd3")
    request = Inpaint(init_images=(PICTURE,), mask=mask, mask_blur_x=0, mask_blur_y=0, sampler=sampler, **SMALL)
    result, _, latent = bench.make(request)
    made, painted = np.asarray(result.images[0].image, int), np.asarray(mask) > 0
    assert np.array_equal(made[~painted], np.asarray(PICTURE, int)[~painted])
    assert not np.array_equal(made[painted], np.asarray(PICTURE, int)[painted])
    pixels = torch.from_numpy(np.asarray(PICTURE, np.float32) / 255).permute(2, 0, 1)[None] * 2 - 1
    original = bench.model("tiny-sd3").encode_image(pixels)
    kept = torch.ones(8, 8, dtype=torch.bool)
    kept[2:5, 2:5] = False
    assert torch.equal(latent[:, :, kept], original[:, :, kept])
    assert not torch.equal(latent[:, :, ~kept], original[:, :, ~kept])


def test_what_makes_no_sense_is_refused() -> None:
    engine = tiny_bench("tiny-sd3").engine
    request = Txt2Img(**SMALL)
    with pytest.raises(InvalidInput, match="LCM is made for other checkpoints: tiny-sd3 is a flow"):
        engine.generate(replace(request, sampler="LCM"), NullJob())
    with pytest.raises(InvalidInput, match="at most 384 pixels"):
        engine.generate(replace(request, width=400), NullJob())


def test_an_odd_number_of_cells_is_drawn_too() -> None:
    """Hires fix may ask for one; patches are two cells wide."""
    model = tiny_bench("tiny-sd3").model("tiny-sd3")
    level = model.levels.at_t(500)
    cond = model.encode_prompts([""], TextOptions())[0]
    x = torch.randn(1, 16, 5, 7, generator=torch.Generator().manual_seed(0))
    rows = type(cond)(cond.tokens[None], None if cond.vector is None else cond.vector[None])
    assert model.predict(x, level, rows).shape == x.shape
