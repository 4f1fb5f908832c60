"""Between PIL pictures and the tensors that the networks read and write."""

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


def to_image(tensor: Tensor) -> Image.Image:
    """(3, H, W) in about [-1, 1] -> RGB. Clamps, then cuts off rather than rounds, as WebUI does."""
    levels = ((tensor + 1) / 2).clamp(0, 1).mul(255).permute(1, 2, 0).to(torch.uint8)
    return Image.fromarray(levels.cpu().numpy())


def latent_mask(mask: Image.Image, size: tuple[int, int], *, hard: bool) -> Tensor:
    """L mask -> (1, 1, h, w) in [0, 1] at latent `size` (w, h); `hard` rounds to 0 or 1, halves to the even one.

    Bicubic with antialiasing, as WebUI: one latent cell gathers the 8 x 8 pixels under it and some around.
    """
    small = mask.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    cells = torch.from_numpy(np.asarray(small, dtype=np.float32)[:, :, 0] / 255.0)
    return (cells.round() if hard else cells)[None, None]


def pixel_mask(mask: Image.Image, *, hard: bool) -> Tensor:
    """L mask -> (1, 1, H, W) in [0, 1] at its own size."""
    pixels = torch.from_numpy(np.asarray(mask.convert("L"), dtype=np.float32) / 255.0)
    return (pixels.round() if hard else pixels)[None, None]
