"""Inpainting with every family, over the tiny checkpoints: what is kept stays, and savings of time work or are off with
a sentence."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import Recorded
from golden.tiny import TINY, kind_of, tiny_bench
from PIL import Image, ImageDraw
from safetensors import safe_open

from modules.request import Inpaint, SoftInpainting
from modules.request.options import Options

NAMES = [name for name in TINY if name not in ("tiny-sd2-depth", "tiny-sd15-b", "tiny-sdxl-b")]
"""All but the one that asks for a depth network and two that are of the same kind as others."""

NETWORKS = ("tiny-sd15-inpainting", "tiny-sd21-v", "tiny-sdxl", "tiny-sd3")
"""One of each network."""

SIDE = 256
PICTURE = Image.effect_noise((SIDE, SIDE), 50).convert("RGB")
MASK = Image.new("L", PICTURE.size)
ImageDraw.Draw(MASK).rectangle((24, 24, 55, 55), fill=255)
PAINTED = np.asarray(MASK) > 0


def inpaint(name: str, **changes: Any) -> Inpaint:
    options = Options().replaced({"sd_model_checkpoint": name} | changes.pop("options", {}))
    return Inpaint(**{"prompt": "a cat", "steps": 4, "width": SIDE, "height": SIDE, "seed": 5, "subseed": 0,
                      "sampler": "DDIM", "init_images": (PICTURE,), "mask": MASK, "mask_blur_x": 0, "mask_blur_y": 0,
                      "denoising_strength": 1.0, "options": options} | changes)


def assert_only_painted(made: Image.Image) -> None:
    difference = np.abs(np.asarray(made, int) - np.asarray(PICTURE, int)).max(axis=2)
    assert difference[~PAINTED].max() == 0
    assert difference[PAINTED].max() > 0


@pytest.mark.parametrize("sampler", ["DDIM", "Euler"])
@pytest.mark.parametrize("name", NAMES)
def test_every_step_keeps_what_is_kept(name: str, sampler: str, tmp_path: Path) -> None:
    """To the last bit: the pixels outside the mask, the latent's kept cells at the end, and at each step the blend."""
    bench, job, corner = tiny_bench(kind_of(name)), Recorded(tmp_path), (0, 0, 96, 96)
    request = inpaint(name, sampler=sampler, width=96, height=96, record_steps=True,
                      init_images=(PICTURE.crop(corner),), mask=MASK.crop(corner))
    result, _, latent = bench.make(request, job)
    whole = PICTURE.copy()
    whole.paste(result.images[0].image, (0, 0))
    assert_only_painted(whole)
    pixels = torch.from_numpy(np.asarray(PICTURE.crop(corner), np.float32) / 255).permute(2, 0, 1)[None] * 2 - 1
    original = bench.model(name).encode_image(pixels)
    kept = torch.ones(12, 12, dtype=torch.bool)
    kept[3:7, 3:7] = False
    assert torch.equal(latent[:, :, kept], original[:, :, kept])
    assert not torch.equal(latent[:, :, ~kept], original[:, :, ~kept])
    with safe_open(job.files[0], "pt") as file:
        current, given, blended, paint = (file.get_tensor(key) for key in ("current", "original", "result", "paint"))
    assert len(paint.unique()) == 2
    assert torch.equal(blended, (1 - paint) * given + paint * current)
    assert torch.equal(blended[..., kept], given[..., kept])


@pytest.mark.parametrize("name", NETWORKS)
def test_soft_inpainting_changes_the_painted_part_and_nothing_far_from_it(name: str) -> None:
    bench, request = tiny_bench(kind_of(name)), inpaint(name, soft=SoftInpainting(), mask_blur_x=4, mask_blur_y=4)
    made, plain = (np.asarray(bench.make(one)[0].images[0].image, int)
                   for one in (request, dataclasses.replace(request, soft=None)))
    assert np.abs(made - plain)[PAINTED].max() > 0
    far = np.ones((SIDE, SIDE), bool)
    far[:128, :128] = False
    assert np.array_equal(made[far], np.asarray(PICTURE, int)[far])


@pytest.mark.parametrize("name", NETWORKS)
def test_savings_work_or_are_off_with_a_sentence(name: str) -> None:
    bench = tiny_bench(kind_of(name))
    _, calls, latent = bench.make(inpaint(name, steps=10))
    for saving in ({"small_mask": "strong"}, {"step_cache": 2}):
        result, fewer, other = bench.make(inpaint(name, steps=10, options=saving))
        assert_only_painted(result.images[0].image)
        if name == "tiny-sd3":
            assert result.warnings == (
                "With tiny-sd3 small masks and the step cache are off: its network is no UNet.",)
            assert torch.equal(other, latent)
        else:
            assert result.warnings == ()
            assert not torch.equal(other, latent), "something was not computed"
            assert result.work < 1 if "small_mask" in saving else len(fewer) < len(calls)
