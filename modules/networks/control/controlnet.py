"""ControlNet (Zhang et al. 2023, arXiv 2302.05543): a copy of the UNet's way down that reads a picture beside x, and
whose answers are added to the UNet's skip connections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn

from modules.networks.control.union import Union, UnionShape
from modules.networks.shapes import UNetShape
from modules.networks.unet import build_unet
from modules.sampling.conditioning import Conditioning, Residuals

HINT_CHANNELS = (16, 16, 32, 32, 96, 96, 256)
"""What the hint encoder's convolutions give, but for the last, which gives the UNet's finest width."""
HALVED = (2, 4, 6)
"""The convolutions of the hint encoder that halve the size."""


class ControlNet(nn.Module):
    """The network of one file. Its modules have the names of the UNet's. `union` knows several kinds of maps."""

    def __init__(self, shape: UNetShape, union: UnionShape | None = None) -> None:
        super().__init__()
        unet: Any = build_unet(shape)
        self.time_proj, self.time_embedding = unet.time_proj, unet.time_embedding
        self.class_embedding = unet.class_embedding
        self.conv_in, self.down_blocks, self.mid_block = unet.conv_in, unet.down_blocks, unet.mid_block
        self.channels = shape.in_channels
        given, layers = 3, list[nn.Module]()
        for number, width in enumerate((*HINT_CHANNELS, shape.channels[0])):
            layers += [nn.Conv2d(given, width, 3, 2 if number in HALVED else 1, 1), nn.SiLU()]
            given = width
        self.hint_encoder = nn.Sequential(*layers[:-1])
        widths = [shape.channels[0]]
        for level, width in enumerate(shape.channels):
            widths += [width] * (shape.blocks + (level < len(shape.channels) - 1))
        self.zero_convs = nn.ModuleList(nn.Conv2d(width, width, 1) for width in widths)
        self.mid_out = nn.Conv2d(shape.channels[-1], shape.channels[-1], 1)
        self.union = None if union is None else Union(union, shape.channels[0], 4 * shape.channels[0])

    def encode_hint(self, hint: Tensor, kind: int = 0) -> Tensor:
        """hint (1, 3, H, W), values 0 to 1 or -1 in a hole -> (1, C, h, w) in the latent's size. A union is told the
        `kind` of the map."""
        encoded = cast(Tensor, self.hint_encoder(hint))
        return encoded if self.union is None else self.union.told(encoded, kind)

    def forward(self, x: Tensor, t: Tensor, cond: Conditioning, hint: Tensor, kinds: Sequence[int] = (0,)) -> Residuals:
        """x (B, C, h, w), t (B,), cond of B rows, hint as `encode_hint` gave it, or the sum of several, which are maps
        of these `kinds` -> what is added inside the UNet."""
        time = self.time_embedding(self.time_proj(t).to(x.dtype))
        if self.union is not None:
            time = time + self.union.of_kinds(kinds)
        if self.class_embedding is not None and cond.vector is not None:
            time = time + self.class_embedding(cond.vector)
        x = self.conv_in(x[:, : self.channels])
        if hint.shape[2:] != x.shape[2:]:
            hint = F.interpolate(hint, size=x.shape[2:])
        x = x + hint
        found = [x]
        for block in cast(Any, self.down_blocks):
            words = {"encoder_hidden_states": cond.tokens} if hasattr(block, "attentions") else {}
            x, answers = block(hidden_states=x, temb=time, **words)
            found += answers
        x = self.mid_block(x, time, encoder_hidden_states=cond.tokens)
        skips = tuple(conv(one) for conv, one in zip(self.zero_convs, found, strict=True))
        return Residuals(skips, self.mid_out(x))
