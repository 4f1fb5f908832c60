"""The UNet on a window: what it gives there is what the whole picture's pass gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from modules.networks.model import StableDiffusion
from modules.networks.packing import PackedConv2d
from modules.networks.window import UNetWindow, deepest_cell

SIZE = (32, 24)  # width, height


def inputs(model: StableDiffusion, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    context = model.encode_prompts(["a red apple", ""], clip_skip=1, emphasis="Original", comma_backtrack=20)
    return torch.randn(2, 4, SIZE[1], SIZE[0], generator=draw), torch.tensor([500, 500]), context


def cut(x: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    return x[:, :, box[1]:box[3], box[0]:box[2]]


@pytest.fixture(params=["plain_model", "sd_model"])
def model(request: pytest.FixtureRequest) -> StableDiffusion:
    model: StableDiffusion = request.getfixturevalue(request.param)
    packed = any(isinstance(layer, PackedConv2d) for layer in model.unet.modules())
    assert packed == (request.param == "sd_model")
    return model


@pytest.mark.parametrize("box", [(8, 8, 16, 16), (0, 0, 8, 24), (24, 16, 32, 24), (0, 0, 32, 24), (10, 3, 17, 9)])
def test_the_window_gives_what_the_whole_gives(model: StableDiffusion, box: tuple[int, int, int, int]) -> None:
    x, t, context = inputs(model)
    dense = model.predict(x, t, context)
    window = UNetWindow(model.unet, box, SIZE)
    eps, memory = window.whole(x, t, context)
    torch.testing.assert_close(eps, dense, rtol=1e-4, atol=2e-5)
    inside = window.inside([memory], [memory], 0.0)(x, t, context)
    torch.testing.assert_close(inside, cut(dense, window.box), rtol=1e-4, atol=2e-5)
    window.close()
    torch.testing.assert_close(model.predict(x, t, context), dense, rtol=1e-4, atol=2e-5)


def test_the_box_grows_to_whole_cells_of_the_deepest_level(sd_model: StableDiffusion) -> None:
    deepest = deepest_cell(sd_model.unet)
    left, top, right, bottom = UNetWindow(sd_model.unet, (deepest + 1, 1, deepest + 2, 3), SIZE).box
    assert (left, top, right, bottom) == (deepest, 0, 2 * deepest, deepest)
    assert sd_model.window((0, 0, 4, 4), (SIZE[0] + 1, SIZE[1])) is None
    sd_model.set_tiling(True)
    assert sd_model.window((0, 0, 4, 4), SIZE) is None
    sd_model.set_tiling(False)


def test_the_rest_lies_between_two_memories(sd_model: StableDiffusion) -> None:
    """With the answer to another x before it, half of the way is the mean of what both left; all of it the second."""
    x, t, context = inputs(sd_model)
    other, _, _ = inputs(sd_model, seed=1)
    window = UNetWindow(sd_model.unet, (8, 8, 16, 16), SIZE)
    (_, first), (dense, second) = window.whole(other, t, context), window.whole(x, t, context)
    mean = {layer: (first[layer] + second[layer]) / 2 for layer in first}
    half = window.inside([first], [second], 0.5)(x, t, context)
    torch.testing.assert_close(half, window.inside([mean], [mean], 0.0)(x, t, context), rtol=1e-4, atol=1e-5)
    now = window.inside([first], [second], 1.0)(x, t, context)
    torch.testing.assert_close(now, cut(dense, window.box), rtol=1e-4, atol=2e-5)
    stale = window.inside([first], [second], 0.0)(x, t, context)
    assert (stale - cut(dense, window.box)).abs().max() > 1e-3, "the rest of the picture counts"


def test_deep_features_are_used_again(model: StableDiffusion) -> None:
    """Those of the same x give the same answer without the deep levels; those of another x another answer."""
    (x, t, context), (other, _, _) = inputs(model), inputs(model, seed=1)
    window = UNetWindow(model.unet, (8, 8, 16, 16), SIZE)
    dense, memory = window.whole(x, t, context)
    with pytest.MonkeyPatch.context() as patch:
        window.inside([memory], [memory], 0.0)(x, t, context)
        patch.setattr(type(model.unet.get_submodule("mid_block")), "forward", None)
        again = window.inside([memory], [memory], 0.0, deep=False)(x, t, context)
    torch.testing.assert_close(again, cut(dense, window.box), rtol=1e-4, atol=2e-5)
    window.inside([memory], [memory], 0.0)(other, t, context)
    stale = window.inside([memory], [memory], 0.0, deep=False)(x, t, context)
    assert (stale - cut(dense, window.box)).abs().max() > 1e-3


def test_a_failure_leaves_the_network_as_it_was(sd_model: StableDiffusion) -> None:
    x, t, context = inputs(sd_model)
    window = UNetWindow(sd_model.unet, (8, 8, 16, 16), SIZE)
    with pytest.raises(RuntimeError):
        window.whole(x, t, context[:, :, :3])
    assert not any("forward" in vars(layer) for layer in sd_model.unet.modules())
