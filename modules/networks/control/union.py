"""What a union of ControlNets (xinsir's for Stable Diffusion XL, ProMax among them) has beside a ControlNet: it is told
which kind of map it reads.

The arithmetic is that of diffusers' `ControlNetUnionModel`. Its attention runs along the rows of a batch, map by map.
All rows have the same maps, so that each row attends to what equals itself, and what is left of the attention is its
values. So several maps add up, and only the time's embedding knows which of them are there together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.networks.families.sdxl import WAVES, waves
from modules.networks.shapes import Header

OWNER = "union"
"""The name of these modules inside a ControlNet."""
NAMES = ("task_embedding", "transformer_layes.", "spatial_ch_projs.", "control_add_embedding.")
"""How the names of their tensors begin in a file."""
MOST_LAYERS = 100

KINDS = {"openpose": 0, "depth": 1, "scribble": 2, "softedge": 2, "canny": 3, "lineart": 3, "mlsd": 3, "hardedge": 3,
         "normalmap": 4, "segmentation": 5, "tile": 6, "inpaint": 7}
"""The number of the kind of map that each Control Type makes. The first release knows 0 to 5."""


@dataclass(frozen=True)
class UnionShape:
    """`kinds` of maps, `width` of their vectors, and `layers` of the transformer."""

    kinds: int
    width: int
    layers: int


def union_shape(header: Header) -> UnionShape | None:
    """What the file of a ControlNet has of a union. None where it is none."""
    embedding = header.shapes.get("task_embedding", ())
    if len(embedding) != 2:
        return None
    return UnionShape(*embedding, sum(header.has(f"transformer_layes.{number}.") for number in range(MOST_LAYERS)))


def kind_of(control_type: str) -> int | None:
    """The number of the kind of map of a Control Type, written in any case and with spaces or without."""
    return KINDS.get(control_type.lower().replace(" ", ""))


def union_key(key: str) -> str | None:
    """Our parameter of a tensor, None where it belongs to no union."""
    return f"{OWNER}.{key}" if key.startswith(NAMES) else None


class Values(nn.Module):
    """Attention of a token to itself alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C) -> (B, C)."""
        return cast(Tensor, self.out_proj(F.linear(x, self.in_proj_weight.chunk(3)[2], self.in_proj_bias.chunk(3)[2])))


class Perceptron(nn.Module):
    """Two layers with a quick GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C) -> (B, C)."""
        x = self.c_fc(x)
        return cast(Tensor, self.c_proj(x * torch.sigmoid(1.702 * x)))


class TransformerLayer(nn.Module):
    """A layer of CLIP's transformer, on one token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn, self.mlp = Values(width), Perceptron(width)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C) -> (B, C)."""
        x = x + self.attn(self.ln_1(x))
        return cast(Tensor, x + self.mlp(self.ln_2(x)))


class TimeLayers(nn.Module):
    """Two layers that bring the number of a kind to the width of the time's embedding."""

    def __init__(self, given: int, width: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(given, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C) -> (B, C')."""
        return cast(Tensor, self.linear_2(F.silu(self.linear_1(x))))


class Union(nn.Module):
    """The modules; their names are those of the file."""

    def __init__(self, shape: UnionShape, channels: int, time_channels: int) -> None:
        """`channels` of the hint, `time_channels` of the time's embedding."""
        super().__init__()
        self.shape = shape
        self.task_embedding = nn.Parameter(torch.empty(shape.kinds, shape.width))
        self.transformer_layes = nn.ModuleList(TransformerLayer(shape.width) for _ in range(shape.layers))
        self.spatial_ch_projs = nn.Linear(shape.width, channels)
        self.control_add_embedding = TimeLayers(shape.kinds * WAVES, time_channels)

    def told(self, hint: Tensor, kind: int) -> Tensor:
        """An encoded hint (1, C, h, w) that knows its kind."""
        x = hint.mean(dim=(2, 3)) + self.task_embedding[kind]
        for layer in self.transformer_layes:
            x = layer(x)
        return hint + cast(Tensor, self.spatial_ch_projs(x))[:, :, None, None]

    def of_kinds(self, kinds: Sequence[int]) -> Tensor:
        """What the kinds of all maps add to the time's embedding, (1, C)."""
        there = torch.zeros(self.shape.kinds, device=self.task_embedding.device)
        there[list(kinds)] = 1
        return cast(Tensor, self.control_add_embedding(
            waves(there).flatten()[None].to(self.task_embedding)))
