"""WebUI's issue 13501: DDIM inpainting of a hole in an all-black picture has come out dark since its version 1.6.

Compared on the embedded default checkpoint with Euler, which never had the fault. Fifty steps, so that the two
samplers' own step errors are small beside what is looked for. Both start from the same noise and approach the same
picture, so that few seeds suffice: DDIM's luminance over Euler's, seed by seed, is 1.0025 with a standard deviation of
0.0007 over twenty seeds; webui-1.10's is 0.94.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from modules.engine.engine import resolve
from modules.generation import recipes
from modules.networks.loader import load_model
from modules.request import Inpaint
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.sampling.types import SDModel
from modules.weights.catalog import Catalog

CHECKPOINTS = Path(__file__).parent.parent / "models" / "Stable-diffusion"
SIZE, HOLE = 128, (32, 32, 96, 96)
SEEDS = 2


@pytest.fixture(scope="module")
def default_model() -> SDModel:
    (checkpoint, *_) = Catalog((CHECKPOINTS,), (), None).checkpoints()
    return load_model(checkpoint, device=torch.device("cpu"), dtype=torch.float32)


def hole_luminance(model: SDModel, sampler: str, loop: str) -> float:
    """Mean luminance, 0 to 255, of the repainted hole over the seeds."""
    mask = Image.new("L", (SIZE, SIZE))
    ImageDraw.Draw(mask).rectangle((HOLE[0], HOLE[1], HOLE[2] - 1, HOLE[3] - 1), fill=255)
    request = Inpaint(prompt="a red apple on a white background", sampler=sampler, steps=50, cfg_scale=3.0, width=SIZE,
                      height=SIZE, batch_size=SEEDS, init_images=(Image.new("RGB", (SIZE, SIZE)),), mask=mask,
                      mask_blur_x=0, mask_blur_y=0, denoising_strength=1.0, seed=0, subseed=0,
                      options=Options(ddim_loop=loop))
    outcome = recipes.generate(lambda *_: model, resolve(request), NullJob())
    return float(np.mean([np.asarray(one.image.convert("L").crop(HOLE)).mean() for one in outcome.pictures]))


def test_a_hole_in_a_black_picture_is_as_bright_as_eulers(default_model: SDModel,
                                                          record_property: pytest.RecordProperty) -> None:
    euler = hole_luminance(default_model, "Euler", "classic")
    classic = hole_luminance(default_model, "DDIM", "classic")
    record_property("hole luminance", json.dumps({
        "Euler": euler, "classic": classic, "webui-1.10": hole_luminance(default_model, "DDIM", "webui-1.10")}))
    assert classic == pytest.approx(euler, rel=0.05)
