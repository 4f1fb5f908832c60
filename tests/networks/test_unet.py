"""Layers of the UNet that are ours give what diffusers' give, and gradients too."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.models.activations import GEGLU
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from modules.networks.shapes import UNetShape
from modules.networks.unet import GatedLinear, build_unet


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("tokens", [1, 77, 511, 512, 513, 1500])
def test_gated_linear(tokens: int, gradients: bool) -> None:
    torch.manual_seed(tokens)
    theirs = GEGLU(24, 40).requires_grad_(False)
    x = torch.randn(3, tokens, 24)
    with torch.set_grad_enabled(gradients):
        ours = GatedLinear(theirs.proj)(x)
    assert ours.shape == (3, tokens, 40)
    torch.testing.assert_close(ours, theirs(x), rtol=1e-5, atol=1e-6)


TINY = UNetShape(in_channels=4, channels=(16, 32), attention=(True, False), blocks=1, transformer_layers=(1, 1),
                 context_channels=8, heads=(2, 2), norm_groups=8)
XL = UNetShape(in_channels=4, channels=(16, 32, 32), attention=(False, True, True), blocks=1,
               transformer_layers=(3, 1, 3), context_channels=8, heads=(1, 2, 4), norm_groups=8, linear=True,
               vector_channels=6)


@pytest.mark.parametrize("shape", [TINY, XL], ids=["SD1", "SDXL"])
def test_gradients_reach_every_parameter(shape: UNetShape) -> None:
    """They are those of diffusers' own network of the same weights; x and context get theirs as well."""
    torch.manual_seed(0)
    ours: Any = build_unet(shape)
    theirs: Any = UNet2DConditionModel.from_config(ours.config)
    theirs.load_state_dict(ours.state_dict())
    gradients = []
    for unet in (ours, theirs):
        draw = torch.Generator().manual_seed(1)
        x = torch.randn(2, 4, 8, 12, generator=draw, requires_grad=True)
        context = torch.randn(2, 7, 8, generator=draw, requires_grad=True)
        told = torch.randn(2, shape.vector_channels, generator=draw) if shape.vector_channels else None
        eps = unet(x, torch.tensor([10, 700]), context, class_labels=told, return_dict=False)[0]
        (eps - torch.randn(eps.shape, generator=draw)).square().mean().backward()
        gradients.append({name: p.grad for name, p in unet.named_parameters()} | {"x": x.grad, "context": context.grad})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert gradient is not None, name
        assert float(gradient.abs().max()) > 0, name
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-5, atol=1e-5, msg=name)


def test_no_gradients_are_recorded_without_need() -> None:
    """Frozen or not, the answer is the same, and what is given is not written into."""
    torch.manual_seed(0)
    unet: Any = build_unet(TINY)
    asked = torch.randn(2, 4, 8, 8), torch.tensor([10, 700]), torch.randn(2, 7, 8)
    before = [one.clone() for one in asked]
    recorded = unet(*asked, return_dict=False)[0]
    with torch.no_grad():
        plain = unet(*asked, return_dict=False)[0]
    unet.requires_grad_(False)
    frozen = unet(*asked, return_dict=False)[0]
    assert (recorded.requires_grad, plain.requires_grad, frozen.requires_grad) == (True, False, False)
    torch.testing.assert_close(plain, recorded.detach(), rtol=0, atol=1e-5)
    torch.testing.assert_close(plain, frozen, rtol=0, atol=1e-5)
    assert all(torch.equal(one, was) for one, was in zip(asked, before, strict=True))
