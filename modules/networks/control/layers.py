"""The layers of a UNet that some control networks change, and what they are told at each call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class AttentionBlock:
    """A transformer block of a UNet. `place` numbers the residual blocks of transformers in the order in which they
    compute, from 0; `path` leads to the block."""

    module: Any
    place: int
    path: str


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

    def share(self, tokens: int) -> Tensor | None:
        """The region over a picture of so many cells, (1, tokens, 1); None is everywhere."""
        if self.region is None:
            return None
        width, height = self.size
        while width * height > tokens:
            width, height = -(-width // 2), -(-height // 2)
        return F.interpolate(self.region, size=(height, width), mode="bilinear").flatten(2).transpose(1, 2)


def blocks_of(unet: nn.Module) -> list[AttentionBlock]:
    """The transformer blocks of diffusers' UNet in the order in which it has them: the way down, the way up, and the
    middle."""
    net = cast(Any, unet)
    down, up = ([one for number, block in enumerate(blocks) for one in _residual(f"{way}_blocks.{number}", block)]
                for way, blocks in (("down", net.down_blocks), ("up", net.up_blocks)))
    middle = [*_residual("mid_block", net.mid_block)]
    places = {path: place for place, (path, _) in enumerate([*down, *middle, *up])}
    return [AttentionBlock(block, places[path], f"{path}.transformer_blocks.{number}")
            for path, attention in (*down, *up, *middle) for number, block in enumerate(attention.transformer_blocks)]


def _residual(path: str, block: Any) -> Iterator[tuple[str, Any]]:
    for number, attention in enumerate(getattr(block, "attentions", None) or ()):
        yield f"{path}.attentions.{number}", attention
