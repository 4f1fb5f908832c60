"""Layers of the UNet that are ours give what diffusers' give."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.activations import GEGLU

from modules.networks.unet import GatedLinear


@pytest.mark.parametrize("tokens", [1, 77, 511, 512, 513, 1500])
def test_gated_linear(tokens: int) -> None:
    torch.manual_seed(tokens)
    theirs = GEGLU(24, 40).requires_grad_(False)
    x = torch.randn(3, tokens, 24)
    ours = GatedLinear(theirs.proj)(x)
    assert ours.shape == (3, tokens, 40)
    torch.testing.assert_close(ours, theirs(x), rtol=1e-5, atol=1e-6)
