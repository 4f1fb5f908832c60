"""Converts between PIL pictures and the tensors of the networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def to_tensor(images: Sequence[Image.Image]) -> Tensor:
    """RGB pictures of one size -> (B, 3, H, W) float32 in [-1, 1], contiguous."""
    pixels = np.stack([np.asarray(image, dtype=np.float32) for image in images]) / 255.0
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))) * 2 - 1


def unit_range(tensor: Tensor) -> Tensor:
    """Values of about [-1, 1] as values in [0, 1]."""
    return ((tensor + 1) / 2).clamp(0, 1)


def shown(tensor: Tensor) -> Image.Image:
    """(3, H, W) in [0, 1] -> RGB. Values are truncated, not rounded, as in WebUI."""
    return Image.fromarray(tensor.mul(255).permute(1, 2, 0).to(torch.uint8).cpu().numpy())


def to_image(tensor: Tensor) -> Image.Image:
    """(3, H, W) in about [-1, 1] -> RGB. Values are clamped and then truncated, not rounded, as in WebUI."""
    return shown(unit_range(tensor))


def latent_mask(mask: Image.Image, size: tuple[int, int], *, hard: bool) -> Tensor:
    """L mask -> (1, 1, h, w) in [0, 1] at latent `size` (w, h). `hard` rounds to 0 or 1 (0.5 to 0).

    The resampling is bicubic with antialiasing, as in WebUI: a latent cell averages its 8 x 8 pixels and some around.
    """
    small = mask.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    cells = torch.from_numpy(np.asarray(small, dtype=np.float32)[:, :, 0] / 255.0)
    return (cells.round() if hard else cells)[None, None]


def pixel_mask(mask: Image.Image, *, hard: bool) -> Tensor:
    """L mask -> (1, 1, H, W) in [0, 1] at the mask's size. `hard` rounds to 0 or 1."""
    pixels = torch.from_numpy(np.asarray(mask.convert("L"), dtype=np.float32) / 255.0)
    return (pixels.round() if hard else pixels)[None, None]
