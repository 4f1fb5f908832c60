"""The preview of soft inpainting shows the very shares that sampling blends with."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from modules.engine.engine import Engine
from modules.imaging.mask import prepare
from modules.imaging.tensors import latent_mask
from modules.request.job_context import NullJob
from modules.sampling.levels import VariancePreserving, stable_diffusion
from modules.sampling.mask import soft_blend
from modules.ui.canvas.canvas import MaskData
from modules.ui.controls.sections import soft_view
from modules.ui.controls.soft_preview import noise_levels, shares, soft_html

MASK = Image.radial_gradient("L")


def test_the_shares_are_those_of_the_blend() -> None:
    """Blending nothing into ones, with lengths mixed linearly, leaves the share itself."""
    levels = noise_levels("Euler", "Karras", 20, 0.75, "classic")
    paint = latent_mask(MASK, (32, 32), hard=False)
    blend = soft_blend(paint, power=1.5, scale=0.5, detail=1)
    shown = shares(MASK, levels, (256, 256), 1.5, 0.5)
    for share, level in zip(shown, (levels[0], levels[len(levels) // 2], levels[-1]), strict=True):
        blended = blend(torch.zeros(1, 4, 32, 32), torch.ones(1, 4, 32, 32), level)
        torch.testing.assert_close(blended[0, 0], share, atol=1e-4, rtol=1e-3)


def test_soft_cells_are_let_go_of_on_the_way() -> None:
    start, middle, end = shares(MASK, noise_levels("Euler", "Automatic", 20, 0.75, "classic"), (256, 256), 1, 0.5)
    assert start.mean() < middle.mean() < end.mean()


def test_levels_are_the_samplers_own() -> None:
    """Sigmas, 0.75 of 20 steps being 16 of them; timesteps for those that follow WebUI 1.10 into its loop."""
    alphas = stable_diffusion().alphas_cumprod
    sigmas = noise_levels("Euler", "Automatic", 20, 0.75, "classic")
    assert len(sigmas) == 16
    assert 14.7 > sigmas[0] > sigmas[-1] > 0.02
    assert noise_levels("DDIM", "Automatic", 20, 0.75, "webui-1.10")[::15] == [751.0, 1.0]
    assert noise_levels("PLMS", "Automatic", 20, 0.75, "classic")[::15] == [751.0, 1.0]
    classic = noise_levels("DDIM", "Automatic", 20, 0.75, "classic")
    assert classic == pytest.approx([float(((1 - alphas[t]) / alphas[t]) ** 0.5) for t in range(751, 0, -50)])


def test_the_view_uses_the_noise_schedule_of_the_loaded_checkpoint(engine: Engine) -> None:
    """Stable Diffusion 1.x's before anything is loaded."""
    picture = MaskData(Image.new("RGB", (256, 256), "white"), MASK)

    def view() -> str:
        return soft_view(engine, picture, True, 1.0, 0.5, "Inpaint masked", 4, "Euler", "Automatic", 20, 0.75, 256, 256,
                         "classic")

    before = view()
    assert before
    engine.load(engine.options, NullJob())
    assert engine.loaded
    assert view() == before, "a FakeModel has that schedule too"
    engine.loaded.model.levels = VariancePreserving(stable_diffusion().alphas_cumprod ** 3)  # type: ignore[misc]
    assert view() != before


def test_three_pictures_once_something_is_painted() -> None:
    picture = Image.new("RGB", (256, 256), "white")
    assert soft_html(MaskData(picture), [1.0], invert=False, blur=0, size=(256, 256), power=1, scale=0.5) == ""
    html = soft_html(MaskData(picture, prepare(MASK, invert=False, blur_x=0, blur_y=0, hard=False)), [9.0, 1.0, 0.1],
                     invert=False, blur=4, size=(256, 256), power=1, scale=0.5)
    assert html.count("data:image/jpeg") == 3
