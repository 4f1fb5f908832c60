"""Deep features used again: whole passes are plain ones, shallow ones compute the outermost level only."""

from __future__ import annotations

import pytest
import torch
from networks.loading import level, said
from torch import Tensor

from modules.networks.deepcache import UNetDeepCache
from modules.networks.model import DiffusionModel
from modules.networks.network import Network
from modules.networks.shapes import UNetShape
from modules.networks.unet import ask_unet, build_unet
from modules.sampling.conditioning import Conditioning
from modules.sampling.levels import Level


def inputs(model: DiffusionModel, size: tuple[int, int], seed: int = 0) -> tuple[Tensor, Level, Conditioning]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(2, 4, *size, generator=draw), level(500), said(model, "a red apple", "")


@pytest.mark.parametrize("size", [(16, 16), (9, 13)])
def test_nothing_is_lost_while_nothing_changes(sd_model: DiffusionModel, size: tuple[int, int]) -> None:
    asked = inputs(sd_model, size)
    dense = sd_model.predict(*asked)
    cache = UNetDeepCache(sd_model.unet, sd_model.predict)
    for whole in (True, False, False):
        assert torch.equal(cache.step(whole)(*asked), dense)
    assert torch.equal(sd_model.predict(*asked), dense)


def test_a_shallow_pass_goes_through_the_outermost_level(sd_model: DiffusionModel) -> None:
    """With another x it gives another answer, nearer to the dense one than the old answer is."""
    x, t, context = inputs(sd_model, (16, 16))
    other = x + 0.3 * inputs(sd_model, (16, 16), seed=1)[0]
    before, dense = sd_model.predict(x, t, context), sd_model.predict(other, t, context)
    cache = UNetDeepCache(sd_model.unet, sd_model.predict)
    cache.step(True)(x, t, context)
    deep: list[object] = []
    hooks = [block.register_forward_hook(lambda *args: deep.append(args)) for block in (
        *sd_model.unet.down_blocks[1].resnets, *sd_model.unet.mid_block.resnets, *sd_model.unet.up_blocks[-2].resnets)]
    shallow = cache.step(False)(other, t, context)
    for hook in hooks:
        hook.remove()
    assert not deep
    assert 0 < float((shallow - dense).norm()) < float((before - dense).norm())


def test_each_asking_has_its_own_features(sd_model: DiffusionModel) -> None:
    """cond and uncond apart, as when they are of different length; and what does not fit is computed whole."""
    x, t, context = inputs(sd_model, (8, 8))
    apart = [(x[:1], t, Conditioning(context.tokens[:1])), (x[1:], t, Conditioning(context.tokens[1:]))]
    cache = UNetDeepCache(sd_model.unet, sd_model.predict)
    whole = cache.step(True)
    first = [whole(*one) for one in apart]
    shallow = cache.step(False)
    for one, dense in zip(apart, first, strict=True):
        assert torch.equal(shallow(*one), dense)
    together = cache.step(False)
    torch.testing.assert_close(together(x, t, context), sd_model.predict(x, t, context))


@pytest.mark.parametrize("layer", ["attn1.to_v", "conv1", "norm2", "resnets.0", "mid_block", "up_blocks.2"])
def test_a_patched_layer_stays_patched(sd_model: DiffusionModel, layer: str) -> None:
    """What somebody has set as a layer's `forward` is used by whole and shallow passes, and is there afterwards."""
    asked = inputs(sd_model, (16, 16))
    plain = sd_model.predict(*asked)
    layers = [module for name, module in sd_model.unet.named_modules() if name.endswith(layer)]
    with pytest.MonkeyPatch.context() as monkey:
        patches = []
        for module in layers:
            patches.append(lambda *args, forward=module.forward, **kwargs: forward(*args, **kwargs) * 1.5)
            monkey.setitem(vars(module), "forward", patches[-1])
        dense = sd_model.predict(*asked)
        assert float((dense - plain).abs().max()) > 1e-3
        cache = UNetDeepCache(sd_model.unet, sd_model.predict)
        for whole in (True, False, False):
            assert torch.equal(cache.step(whole)(*asked), dense)
        assert all(module.forward is patch for module, patch in zip(layers, patches, strict=True))
    assert not any("forward" in vars(module) for module in sd_model.unet.modules())


def test_a_unet_of_one_level_has_no_deep_features() -> None:
    shape = UNetShape(in_channels=4, channels=(16,), attention=(False,), blocks=1, transformer_layers=(1,),
                      context_channels=8, heads=(1,), norm_groups=8)
    assert Network(build_unet(shape), ask_unet, torch.device("cpu"), torch.float32).deep_cache() is None
