"""Soft edges by HED, holistically-nested edge detection (Xie and Tu 2015), from the file ControlNetHED.pth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.annotate.hint import is_ridge
from modules.annotate.preprocessor import Pixels
from modules.annotate.scale import three_channels
from modules.networks.annotators.files import filled

Edges = npt.NDArray[np.float32]
"""(H, W), 0 to 1."""
WIDTHS, DEPTHS = (64, 128, 256, 512, 512), (2, 2, 3, 3, 3)
"""Channels and convolutions of the five blocks."""
SCRIBBLE, BLUR, INK = 127, 3.0, 4
"""The least edge of a scribble, the blur that thickens it in pixels, and what of that becomes white."""


class Block(nn.Module):
    """Convolutions, and the edges that they see."""

    def __init__(self, inputs: int, width: int, depth: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(width if n else inputs, width, 3, padding=1) for n in range(depth))
        self.projection = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for conv in self.convs:
            x = F.relu(conv(x))
        return x, self.projection(x)


class Hed(nn.Module):
    """RGB (1, 3, H, W) in 0 to 255 -> edges at five scales, (1, 1, h, w) each."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.Parameter(torch.zeros(1, 3, 1, 1))
        for n, (inputs, width, depth) in enumerate(zip((3, *WIDTHS[:-1]), WIDTHS, DEPTHS, strict=True), 1):
            self.add_module(f"block{n}", Block(inputs, width, depth))

    def forward(self, x: Tensor) -> list[Tensor]:
        x, edges = x - self.norm, []
        for n in range(1, 6):
            x, edge = self.get_submodule(f"block{n}")(x if n == 1 else F.max_pool2d(x, 2))
            edges.append(edge)
        return edges


def load_soft_edges(path: Path, device: str) -> Callable[[Pixels], Edges]:
    """The network in `path`. Raises CheckpointError."""
    network = filled(Hed(), path).to(device)

    @torch.inference_mode()
    def edges(picture: Pixels) -> Edges:
        height, width = picture.shape[:2]
        x = torch.from_numpy(np.ascontiguousarray(picture)).to(device).float().permute(2, 0, 1)[None]
        scales = [edge[0, 0].float().cpu().numpy() for edge in network(x)]
        mean = np.mean([cv2.resize(edge, (width, height), interpolation=cv2.INTER_LINEAR) for edge in scales], axis=0)
        return np.asarray(1 / (1 + np.exp(-mean.astype(np.float64))), dtype=np.float32)

    return edges


def soft_edge_map(edges: Edges) -> Pixels:
    """Edges as grey levels."""
    return three_channels((edges * 255).clip(0, 255).astype(np.uint8))


def safe_edge_map(edges: Edges) -> Pixels:
    """Edges in three levels, in which no faint picture can hide."""
    return soft_edge_map(np.asarray(np.floor(edges * 3) / 2, dtype=np.float32))


def scribble_map(edges: Edges) -> Pixels:
    """Strokes: the ridges of strong edges, thickened, white on black."""
    levels = (edges * 255).clip(0, 255).astype(np.uint8).astype(np.float32)
    soft = np.asarray(cv2.GaussianBlur(levels, (0, 0), BLUR))
    strokes = np.where(is_ridge(soft) & (soft > SCRIBBLE), 255, 0).astype(np.uint8)
    thick = np.asarray(cv2.GaussianBlur(strokes, (0, 0), BLUR))
    return three_channels(np.where(thick > INK, 255, 0).astype(np.uint8))
