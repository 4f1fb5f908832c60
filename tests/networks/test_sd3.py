"""Stable Diffusion 3 through the whole program."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from golden.tiny import tiny_bench

from modules.errors import InvalidInput
from modules.request import Txt2Img
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.sampling.conditioning import TextOptions

SMALL: dict[str, Any] = {"prompt": "a cat", "steps": 6, "width": 64, "height": 64, "seed": 5, "subseed": 0,
                         "options": Options().replaced({"sd_model_checkpoint": "tiny-sd3"})}


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
