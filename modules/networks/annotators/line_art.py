"""Line drawings of photographs by "informative drawings" (Chan, Durand and Isola 2022): the files sk_model.pth (fine)
and sk_model2.pth (coarse)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from modules.annotate.preprocessor import Pixels
from modules.annotate.scale import three_channels
from modules.networks.annotators.files import filled

WIDTH, BLOCKS = 64, 3
CELL = 4
"""Pixels: the network halves the picture twice."""


class Residual(nn.Module):
    """Two convolutions beside a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width), nn.ReLU(),
            nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.conv_block(x))


class Drawing(nn.Module):
    """RGB (1, 3, H, W) in 0 to 1 -> dark lines on white (1, 1, H, W), 0 to 1; H and W are multiples of `CELL`."""

    def __init__(self) -> None:
        super().__init__()
        w = WIDTH
        self.model0 = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(3, w, 7), nn.InstanceNorm2d(w), nn.ReLU())
        self.model1 = nn.Sequential(
            nn.Conv2d(w, 2 * w, 3, 2, 1), nn.InstanceNorm2d(2 * w), nn.ReLU(),
            nn.Conv2d(2 * w, 4 * w, 3, 2, 1), nn.InstanceNorm2d(4 * w), nn.ReLU())
        self.model2 = nn.Sequential(*(Residual(4 * w) for _ in range(BLOCKS)))
        self.model3 = nn.Sequential(
            nn.ConvTranspose2d(4 * w, 2 * w, 3, 2, 1, 1), nn.InstanceNorm2d(2 * w), nn.ReLU(),
            nn.ConvTranspose2d(2 * w, w, 3, 2, 1, 1), nn.InstanceNorm2d(w), nn.ReLU())
        self.model4 = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(w, 1, 7), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        for part in (self.model0, self.model1, self.model2, self.model3, self.model4):
            x = part(x)
        return x


def load_line_art(path: Path, device: str) -> Callable[[Pixels], Pixels]:
    """The network in `path`, as a function from RGB to light lines on black. Raises CheckpointError."""
    network = filled(Drawing(), path).to(device)

    @torch.inference_mode()
    def lines(picture: Pixels) -> Pixels:
        height, width = picture.shape[:2]
        padded = np.pad(picture, ((0, -height % CELL), (0, -width % CELL), (0, 0)), mode="edge")
        x = torch.from_numpy(padded).to(device).float().permute(2, 0, 1)[None] / 255
        drawn = network(x)[0, 0, :height, :width].float().cpu().numpy()
        return three_channels(255 - (drawn * 255).clip(0, 255).astype(np.uint8))

    return lines
