"""Pictures that tile: convolutions whose padding wraps round (WebUI: `apply_circular`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from modules.networks.packing import PackedConv2d

Convolution = nn.Conv2d | PackedConv2d


@contextmanager
def wrapped_round(*networks: nn.Module) -> Iterator[None]:
    """While this lasts all convolutions of `networks` read the opposite edge beyond an edge of the picture; then each
    pads as before."""
    before = {layer: layer.padding_mode for network in networks for layer in _convolutions(network)}
    try:
        for layer in before:
            layer.padding_mode = "circular"
        yield
    finally:
        for layer, mode in before.items():
            layer.padding_mode = mode


def wraps(network: nn.Module) -> bool:
    """True if any convolution of `network` pads with something else than zeros."""
    return any(layer.padding_mode != "zeros" for layer in _convolutions(network))


def _convolutions(network: nn.Module) -> Iterator[Convolution]:
    return (layer for layer in network.modules() if isinstance(layer, Convolution))
