"""Little painted, little paid: the steps that see a window only, against the dense run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import FakeDeepCache, FakeModel
from PIL import Image

from modules.engine.engine import resolve
from modules.generation import recipes
from modules.request import Inpaint
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.sampling.conditioning import Conditioning
from modules.sampling.levels import Level
from modules.sampling.small_masks import AUTO, STRONG, TINY, Budget, keyframes, painted_box, work_share
from modules.sampling.types import Box

HOLE = (240, 200, 300, 260)


def request(mode: str, hole: Box = HOLE, **changes: object) -> Inpaint:
    """A picture of 512 x 512 with a hole."""
    mask = Image.new("L", (512, 512))
    mask.paste(255, hole)
    picture = Image.merge("RGB", [Image.linear_gradient("L").resize((512, 512)).rotate(90 * k) for k in range(3)])
    base = Inpaint(prompt="a boat", seed=3, subseed=0, steps=20, cfg_scale=5, width=512, height=512,
                   denoising_strength=0.75, init_images=(picture,), mask=mask, options=Options(small_mask=mode))
    return resolve(replace(base, **changes))  # type: ignore[arg-type]


def run(model: FakeModel, asked: Inpaint) -> tuple[np.ndarray, float]:
    outcome = recipes.generate(lambda *_: model, asked, NullJob())
    return np.asarray(outcome.pictures[0].image, int), outcome.work


class Watched(FakeModel):
    """Knows how many cells it was asked for, and which steps in the window were to compute the deep levels."""

    def predict(self, x: torch.Tensor, level: Level, cond: Conditioning) -> torch.Tensor:
        self.cells = [*getattr(self, "cells", []), x.shape[2] * x.shape[3]]
        return super().predict(x, level, cond)

    def deep_cache(self) -> FakeDeepCache:
        self.cache = super().deep_cache()
        return self.cache


@pytest.mark.parametrize(("mode", "hole", "how"), [
    ("auto", HOLE, AUTO), ("strong", HOLE, STRONG), ("strong", (240, 200, 280, 240), TINY)],
    ids=["auto", "strong", "speck"])
@pytest.mark.parametrize("changes", [{}, {"cfg_scale": 1}, {"mask_round": False}, {"batch_size": 2},
                                     {"prompt": "a boat AND [a cat:a dog:0.5] :0.4"}], ids=str)
def test_cells_that_know_nothing_of_each_other_come_out_the_same(mode: str, hole: Box, how: Budget,
                                                             changes: dict[str, object]) -> None:
    """The fake network looks at each cell alone, so that the window must give exactly the dense picture."""
    dense, work = run(FakeModel(), request("off", hole, **changes))
    assert work == 1
    model = Watched()
    saved, work = run(model, request(mode, hole, **changes))
    assert np.abs(saved - dense).max() <= 1
    assert min(model.cells) < 64 * 64 / 8
    assert work < 0.4
    assert model.cells.count(64 * 64) == how.keyframes
    assert len(model.cells) == how.keyframes + 14
    assert model.cache.steps == [k % how.reuse == 0 for k in range(14)]


def test_a_network_without_deep_levels_has_small_masks_too() -> None:
    class Flat(Watched):
        def deep_cache(self) -> None:  # type: ignore[override]
            return None

    dense, _ = run(FakeModel(), request("off"))
    saved, _ = run(model := Flat(), request("strong"))
    assert np.abs(saved - dense).max() <= 1
    assert min(model.cells) < 64 * 64 / 8


@pytest.mark.parametrize("changes", [
    {"hole": (0, 0, 480, 480)}, {"steps": 2}, {"sampler": "Euler"}, {"sampler": "DDPM"}, {"eta": 0.5},
    {"options": Options(small_mask="strong", mask_noise="fresh")},
    {"options": Options(small_mask="strong", ddim_loop="webui-1.10")}], ids=str)
def test_where_it_would_not_pay_or_is_not_known_in_advance_all_is_dense(changes: dict[str, object]) -> None:
    model = Watched()
    _, work = run(model, request("strong", **changes))  # type: ignore[arg-type]
    assert work == 1
    assert set(model.cells) == {64 * 64}


def test_the_way_is_divided_evenly() -> None:
    assert keyframes(15, 2) == [0, 10]
    assert keyframes(15, 4) == [0, 4, 8, 12]
    assert keyframes(50, 4) == [0, 14, 28, 42]
    for steps in range(5, 60):
        assert len(set(keyframes(steps, 4))) == 4
        assert max(keyframes(steps, 4)) < steps
    assert work_share((0, 0, 16, 16), (64, 64), 15, AUTO) == pytest.approx((4 + 14 / 16) / 15)
    assert work_share((0, 0, 16, 16), (64, 64), 15, STRONG) == pytest.approx((3 + (7 + 7 * 0.4) / 16) / 15)


def test_the_box_holds_all_that_is_painted() -> None:
    paint = torch.zeros(1, 1, 20, 30)
    assert painted_box(paint) is None
    paint[0, 0, 7, 11] = 0.01
    paint[0, 0, 9, 27] = 1
    assert painted_box(paint) == (9, 5, 30, 12)
