"""The layers of a UNet that some control networks change, and what they are told at each call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class AttentionBlock:
    """A transformer block of a UNet. `place` numbers the residual blocks of transformers in the order in which they
    compute, from 0; `original` is the block's name in Stable Diffusion's original layout."""

    module: Any
    place: int
    original: str


@dataclass(frozen=True)
class AtCall:
    """One call of a UNet with `rows` rows of a latent of `size` (width, height); those in `unguided` are told the
    negative prompt. `weights` has one number for each place. `region` (1, 1, H, W) in [0, 1] says where a unit works;
    None is everywhere."""

    rows: int
    size: tuple[int, int]
    unguided: Sequence[int]
    weights: Sequence[float]
    region: Tensor | None = None

    def cells(self, tokens: int) -> tuple[int, int]:
        """The (width, height) of the UNet's level that has so many cells."""
        width, height = self.size
        while width * height > tokens:
            width, height = -(-width // 2), -(-height // 2)
        return width, height

    def share(self, tokens: int) -> Tensor | None:
        """The region over a level of so many cells, (1, tokens, 1); None is everywhere."""
        if self.region is None:
            return None
        width, height = self.cells(tokens)
        return F.interpolate(self.region, size=(height, width), mode="bilinear").flatten(2).transpose(1, 2)


def blocks_of(unet: nn.Module) -> list[AttentionBlock]:
    """The transformer blocks of diffusers' UNet in the order in which it has them: the way down, the way up, and the
    middle."""
    net = cast(Any, unet)
    a_level = int(net.config.layers_per_block) + 1
    down = [(f"input_blocks.{1 + level * a_level + number}.1", attention)
            for level, block in enumerate(net.down_blocks) for number, attention in _attentions(block)]
    middle = [("middle_block.1", attention) for _, attention in _attentions(net.mid_block)]
    up = [(f"output_blocks.{level * a_level + number}.1", attention)
          for level, block in enumerate(net.up_blocks) for number, attention in _attentions(block)]
    places = {name: place for place, (name, _) in enumerate([*down, *middle, *up])}
    return [AttentionBlock(block, places[name], f"{name}.transformer_blocks.{number}")
            for name, attention in (*down, *up, *middle) for number, block in enumerate(attention.transformer_blocks)]


def _attentions(block: Any) -> list[tuple[int, Any]]:
    return list(enumerate(getattr(block, "attentions", None) or ()))
