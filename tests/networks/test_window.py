"""The UNet on a window: what it gives there is what the whole picture's pass gives."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from networks.loading import level, said
from torch import Tensor

from modules.networks.model import DiffusionModel
from modules.networks.packing import PackedConv2d
from modules.networks.window import Memory, UNetWindow, deepest_cell
from modules.sampling.conditioning import Conditioning
from modules.sampling.levels import Level
from modules.sampling.types import Predict

SIZE = (32, 24)  # width, height


def inputs(model: DiffusionModel, seed: int = 0) -> tuple[Tensor, Level, Conditioning]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(2, 4, SIZE[1], SIZE[0], generator=draw), level(500), said(model, "a red apple", "")


Asked = tuple[Tensor, Level, Conditioning]


def whole(model: DiffusionModel, window: UNetWindow, asked: Asked) -> tuple[Tensor, Memory]:
    """(eps of a pass over the whole picture, its record)."""
    with window.recording() as memory:
        return model.predict(*asked), memory


def inside(window: UNetWindow, before: Memory, after: Memory, share: float, asked: Asked, predict: Predict) -> Tensor:
    """eps in the window."""
    x, t, context = asked
    with window.inside(before, after, share):
        return predict(cut(x, window.box), t, context)


def cut(x: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    return x[:, :, box[1]:box[3], box[0]:box[2]]


@pytest.fixture(params=["plain_model", "sd_model"])
def model(request: pytest.FixtureRequest) -> DiffusionModel:
    model: DiffusionModel = request.getfixturevalue(request.param)
    packed = any(isinstance(layer, PackedConv2d) for layer in model.unet.modules())
    assert packed == (request.param == "sd_model")
    return model


@pytest.mark.parametrize("box", [(8, 8, 16, 16), (0, 0, 8, 24), (24, 16, 32, 24), (0, 0, 32, 24), (10, 3, 17, 9)])
def test_the_window_gives_what_the_whole_gives(model: DiffusionModel, box: tuple[int, int, int, int]) -> None:
    x, t, context = inputs(model)
    dense = model.predict(x, t, context)
    window = UNetWindow(model.unet, box, SIZE)
    eps, memory = whole(model, window, (x, t, context))
    torch.testing.assert_close(eps, dense, rtol=1e-4, atol=2e-5)
    part = inside(window, memory, memory, 0.0, (x, t, context), model.predict)
    torch.testing.assert_close(part, cut(dense, window.box), rtol=1e-4, atol=2e-5)
    window.close()
    torch.testing.assert_close(model.predict(x, t, context), dense, rtol=1e-4, atol=2e-5)


def test_the_box_grows_to_whole_cells_of_the_deepest_level(sd_model: DiffusionModel) -> None:
    deepest = deepest_cell(sd_model.unet)
    left, top, right, bottom = UNetWindow(sd_model.unet, (deepest + 1, 1, deepest + 2, 3), SIZE).box
    assert (left, top, right, bottom) == (deepest, 0, 2 * deepest, deepest)
    assert sd_model.window((0, 0, 4, 4), (SIZE[0] + 1, SIZE[1])) is None
    with sd_model.tiled():
        assert sd_model.window((0, 0, 4, 4), SIZE) is None
    assert sd_model.window((0, 0, 4, 4), SIZE) is not None


def test_the_rest_lies_between_two_memories(sd_model: DiffusionModel) -> None:
    """With the answer to another x before it, half of the way is the mean of what both left; all of it the second."""
    x, t, context = inputs(sd_model)
    other, _, _ = inputs(sd_model, seed=1)
    window = UNetWindow(sd_model.unet, (8, 8, 16, 16), SIZE)
    asked, predict = (x, t, context), sd_model.predict
    (_, first), (dense, second) = whole(sd_model, window, (other, t, context)), whole(sd_model, window, asked)
    mean = {layer: (first[layer] + second[layer]) / 2 for layer in first}
    half = inside(window, first, second, 0.5, asked, predict)
    torch.testing.assert_close(half, inside(window, mean, mean, 0.0, asked, predict), rtol=1e-4, atol=1e-5)
    now = inside(window, first, second, 1.0, asked, predict)
    torch.testing.assert_close(now, cut(dense, window.box), rtol=1e-4, atol=2e-5)
    stale = inside(window, first, second, 0.0, asked, predict)
    assert (stale - cut(dense, window.box)).abs().max() > 1e-3, "the rest of the picture counts"


def test_deep_features_are_used_again(model: DiffusionModel) -> None:
    """Those of the same x give the same answer without the deep levels; those of another x another answer."""
    (x, t, context), (other, _, _) = inputs(model), inputs(model, seed=1)
    window, cache = UNetWindow(model.unet, (8, 8, 16, 16), SIZE), model.deep_cache()
    assert cache is not None
    dense, memory = whole(model, window, (x, t, context))

    def step(x: Tensor, deep: bool) -> Tensor:
        return inside(window, memory, memory, 0.0, (x, t, context), cache.step(deep))

    with pytest.MonkeyPatch.context() as patch:
        step(x, True)
        patch.setattr(type(model.unet.get_submodule("mid_block")), "forward", None)
        again = step(x, False)
    torch.testing.assert_close(again, cut(dense, window.box), rtol=1e-4, atol=2e-5)
    step(other, True)
    stale = step(x, False)
    assert (stale - cut(dense, window.box)).abs().max() > 1e-3


def test_a_failure_leaves_the_network_as_it_was(sd_model: DiffusionModel) -> None:
    x, t, context = inputs(sd_model)
    window = UNetWindow(sd_model.unet, (8, 8, 16, 16), SIZE)
    with pytest.raises(RuntimeError):
        whole(sd_model, window, (x, t, Conditioning(context.tokens[:, :, :3])))
    assert not any("forward" in vars(layer) for layer in sd_model.unet.modules())


def negative(forward: Callable[..., Tensor], *args: Any) -> Tensor:
    return forward(*args) * -1.5


def brighter(forward: Callable[..., Tensor], x: Tensor) -> Tensor:
    """Not zero beyond the picture's edge, which convolutions read."""
    return forward(x + 0.5)


def contrasted(forward: Callable[..., Tensor], x: Tensor) -> Tensor:
    """Reads the whole picture."""
    return forward(x) * x.std()


PATCHES = [("attn1.to_k", negative), ("attn1.to_v", negative), ("attn2.to_v", negative), ("ff.net.0", negative),
           ("resnets.0.norm1", contrasted), ("conv_norm_out", contrasted), ("attentions.0.norm", negative),
           ("conv1", brighter), ("conv_in", brighter), ("conv_out", negative), ("downsamplers.0.conv", brighter),
           ("upsamplers.0.conv", brighter), ("conv_shortcut", brighter), ("resnets.0", negative)]


@pytest.mark.parametrize("box", [(8, 8, 16, 16), (0, 0, 8, 24), (24, 16, 32, 24)], ids=str)
@pytest.mark.parametrize(("layer", "patch"), PATCHES)
def test_a_patched_layer_computes_as_in_the_whole(sd_model: DiffusionModel, layer: str, patch: Callable[..., Tensor],
                                                  box: tuple[int, int, int, int]) -> None:
    """What somebody has set as a layer's `forward` is called in the window too, and is there afterwards."""
    asked = inputs(sd_model)
    plain = sd_model.predict(*asked)
    layers = [module for name, module in sd_model.unet.named_modules() if name.endswith(layer)]
    patches = [partial(patch, module.forward) for module in layers]
    assert layers
    with pytest.MonkeyPatch.context() as monkey:
        for module, forward in zip(layers, patches, strict=True):
            monkey.setitem(vars(module), "forward", forward)
        window = UNetWindow(sd_model.unet, box, SIZE)
        dense = sd_model.predict(*asked)
        assert float((dense - plain).abs().max()) > 1e-3
        eps, memory = whole(sd_model, window, asked)
        torch.testing.assert_close(eps, dense, rtol=1e-4, atol=2e-5)
        part = inside(window, memory, memory, 0.0, asked, sd_model.predict)
        torch.testing.assert_close(part, cut(dense, window.box), rtol=1e-3, atol=1e-4)
        assert all(module.forward is forward for module, forward in zip(layers, patches, strict=True))
        window.close()
    assert not any("forward" in vars(module) for module in sd_model.unet.modules())
