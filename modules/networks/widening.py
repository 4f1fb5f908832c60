"""Weights that stay in half precision, or off the GPU, and are brought to where and how a layer computes when it is
called. That costs a copy at each call and saves half of the memory, or all of the GPU's."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HALVES = (torch.float16, torch.bfloat16)
LARGE = 2**16
"""Numbers in a weight that is worth it."""


def _like(weight: Tensor | None, x: Tensor) -> Tensor | None:
    return None if weight is None else weight.to(x.device, x.dtype)


class WideningLinear(nn.Linear):
    """A Linear whose weight becomes what its input is, for the time of a call."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.device, x.dtype), _like(self.bias, x))


class WideningConv2d(nn.Conv2d):
    """The same of a Conv2d."""

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self._conv_forward(x, self.weight.to(x.device, x.dtype), _like(self.bias, x)))


class WideningEmbedding(nn.Embedding):
    """An Embedding in half precision whose vectors are float32."""

    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids.to(self.weight.device)).float().to(ids.device)


KINDS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: WideningLinear, nn.Conv2d: WideningConv2d, nn.Embedding: WideningEmbedding}


def widens(layer: nn.Module) -> bool:
    """Whether the layer's weight can stay in half precision: a large one of a kind that is known."""
    return type(layer) in KINDS and cast(Any, layer).weight.numel() >= LARGE


def fetches(layer: nn.Module) -> bool:
    """Whether the layer brings its weight to where it computes at each call."""
    return isinstance(layer, tuple(KINDS.values()))


def fetch(module: nn.Module) -> None:
    """From now on the large layers of `module` bring their weights to where they compute, in its precision."""
    for layer in module.modules():
        if widens(layer):
            layer.__class__ = KINDS[type(layer)]


def stored(module: nn.Module) -> set[str]:
    """The parameters of `module` that can stay in half precision."""
    return {f"{name}.weight" for name, layer in module.named_modules() if widens(layer)}


def widen(module: nn.Module) -> None:
    """From now on the layers of `module` whose weights are in half precision compute in the precision of their input.
    """
    for layer in module.modules():
        if widens(layer) and cast(Any, layer).weight.dtype in HALVES:
            layer.__class__ = KINDS[type(layer)]
