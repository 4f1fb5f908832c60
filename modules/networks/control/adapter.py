"""T2I-Adapter (Mou et al. 2023, arXiv 2302.08453): a small network that turns a picture into features, which are added
to the answers of the UNet's blocks on the way down. It is asked once for all steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class AdapterShape:
    """What an adapter is made of.

    `inputs` channels of the picture, 1 or 3, laid apart in squares of `unshuffle` pixels. `channels` of its features,
    from the finest. `blocks` a level, with second convolutions of `kernel` cells. `light`: each level is narrowed to
    `inner` channels. `halved` are the levels that begin with half the size, `shortcuts` the blocks whose shortcut has a
    convolution, and `strided` those whose halving has one.
    """

    inputs: int
    unshuffle: int
    channels: tuple[int, ...]
    blocks: int
    kernel: int
    light: bool = False
    inner: tuple[int, ...] = ()
    halved: tuple[int, ...] = (1, 2, 3)
    shortcuts: tuple[int, ...] = ()
    strided: tuple[int, ...] = ()

    @property
    def is_xl(self) -> bool:
        """Whether it is for Stable Diffusion XL."""
        return self.unshuffle == 16


class AdapterBlock(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, given: int, width: int, kernel: int, *, halves: bool = False, strided: bool = False,
                 shortcut: bool = False) -> None:
        super().__init__()
        self.halves = halves
        self.down_opt = nn.ModuleDict({"op": nn.Conv2d(given, given, 3, 2, 1)}) if halves and strided else None
        self.in_conv = nn.Conv2d(given, width, 1) if given != width else None
        self.block1 = nn.Conv2d(width, width, 3, 1, 1)
        self.block2 = nn.Conv2d(width, width, kernel, 1, kernel // 2)
        self.skep = nn.Conv2d(width, width, kernel, 1, kernel // 2) if shortcut else None

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, h, w) -> (B, C', h', w')."""
        if self.halves:
            x = F.avg_pool2d(x, 2) if self.down_opt is None else self.down_opt["op"](x)
        x = x if self.in_conv is None else self.in_conv(x)
        return cast(Tensor, self.block2(F.relu(self.block1(x))) + (x if self.skep is None else self.skep(x)))


class LightLevel(nn.Module):
    """A level of the light adapter: narrowed, convolved, and widened again."""

    def __init__(self, given: int, inner: int, width: int, blocks: int, *, halves: bool) -> None:
        super().__init__()
        self.halves = halves
        self.in_conv = nn.Conv2d(given, inner, 1)
        self.body = nn.Sequential(*(AdapterBlock(inner, inner, 3) for _ in range(blocks)))
        self.out_conv = nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, h, w) -> (B, C', h', w')."""
        return cast(Tensor, self.out_conv(self.body(self.in_conv(F.avg_pool2d(x, 2) if self.halves else x))))


class Adapter(nn.Module):
    """The network of one file; `conv_in` and `body` as in the file."""

    def __init__(self, shape: AdapterShape) -> None:
        super().__init__()
        self.shape = shape
        given = shape.inputs * shape.unshuffle**2
        body: list[nn.Module] = []
        self.conv_in = None if shape.light else nn.Conv2d(given, shape.channels[0], 3, 1, 1)
        given = given if shape.light else shape.channels[0]
        for level, width in enumerate(shape.channels):
            halves = level in shape.halved
            if shape.light:
                body.append(LightLevel(given, shape.inner[level], width, shape.blocks, halves=halves))
            for number in range(0 if shape.light else shape.blocks):
                body.append(AdapterBlock(given if number == 0 else width, width, shape.kernel,
                                         halves=halves and number == 0, strided=len(body) in shape.strided,
                                         shortcut=len(body) in shape.shortcuts))
            given = width
        self.body = nn.ModuleList(body)

    def forward(self, hint: Tensor) -> tuple[Tensor, ...]:
        """hint (1, 3, H, W), values 0 to 1 -> four features (1, C, h, w), each half as large as the one before or
        equally large."""
        x = F.pixel_unshuffle(hint[:, : self.shape.inputs], self.shape.unshuffle)
        x = x if self.conv_in is None else self.conv_in(x)
        features, a_level = [], len(self.body) // len(self.shape.channels)
        for number, block in enumerate(self.body, 1):
            x = block(x)
            if number % a_level == 0:
                features.append(x)
        return tuple(features)
