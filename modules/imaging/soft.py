"""The last step of soft inpainting: a pixel mask computed from how much each latent cell has changed.

Source: WebUI's soft inpainting extension (`apply_adaptive_masks`).
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor

from modules.imaging.resize import resize
from modules.request import ResizeMode, SoftInpainting

Floats = NDArray[np.float32]

NEAR = 4
"""The two means below look at cells up to this distance. Beyond it only rounding can make a latent differ."""


def adaptive_mask(original: Tensor, result: Tensor, paint: Tensor, soft: SoftInpainting,
                  size: tuple[int, int], *, bounded: bool = False) -> Image.Image:
    """original and result (4, h, w), paint (h, w) in [0, 1] -> an L mask of `size` (width, height), white where the
    result is used. If `bounded`, it is black farther than `SOFT_REACH` pixels from what is painted."""
    keep = 1 - paint.clamp(0, 1).float().cpu().numpy() ** (soft.scale / 2)
    keep = 0.5 * (1 - soft.influence) + keep * soft.influence
    tolerance = keep / (1.00001 - keep)
    distance = torch.norm(result - original, p=2, dim=0).float().cpu().numpy()
    distance = weighted_percentile_mean(distance, 0.9, 1.0)
    distance = weighted_percentile_mean(distance, 0.25, 0.75)
    # Everything is in single precision: values near 1 must round to 1, otherwise the mask never becomes quite white.
    with np.errstate(divide="ignore", over="ignore"):
        same = 1 / (1 + (distance / (soft.threshold * tolerance)) ** soft.contrast)
    if bounded:
        painted = (paint > 0).cpu().numpy().astype(np.uint8)
        same = np.where(cv2.dilate(painted, np.ones((2 * NEAR + 1, 2 * NEAR + 1), np.uint8)), same, 1)
    smooth = same**3 * (same * (same * 6 - 15) + 10)  # Perlin's smootherstep
    mask = Image.fromarray((255 * (1 - smooth)).astype(np.uint8))
    return resize(ResizeMode.RESIZE_AND_FILL, mask, size).convert("L").filter(ImageFilter.GaussianBlur(4))


def weighted_percentile_mean(values: Floats, low: float, high: float) -> Floats:
    """For each cell, the mean of the values in its 5 x 5 window whose weighted quantile is in [low, high]. The weights
    are those of `_bell`."""
    height, width = values.shape
    kernel = _bell()
    result = np.empty_like(values)
    for y in range(height):
        for x in range(width):
            top, left = max(y - 2, 0), max(x - 2, 0)
            window = values[top : y + 3, left : x + 3]
            weights = kernel[top - y + 2 :, left - x + 2 :][: window.shape[0], : window.shape[1]]
            result[y, x] = _mean_of_ranks(window.ravel(), weights.ravel(), low, high)
    return result


def _bell() -> Floats:
    """A Gaussian-like kernel (5, 5) that reaches 0 at a distance of 3 cells."""
    square = np.add.outer(np.arange(-2, 3) ** 2, np.arange(-2, 3) ** 2).astype(float)
    edge = np.exp(-9 / 2.25)
    bell: Floats = np.maximum((np.exp(-square / 2.25) - edge) / (1 - edge), 0).astype(np.float32)
    return bell


def _mean_of_ranks(values: Floats, weights: Floats, low: float, high: float) -> float:
    order = np.argsort(values)
    values, weights = values[order], weights[order]
    ends = np.cumsum(weights)
    total = ends[-1]
    first, last = low * total, high * total
    if last - first < 1:  # the range covers the weight of at least one cell
        middle = (first + last) / 2
        first, last = middle - 0.5, middle + 0.5
        first -= max(last - total, 0)
        last = min(last, total)
        last += max(-first, 0)
        first = max(first, 0)
    share = np.clip(np.minimum(ends, last) - np.maximum(ends - weights, first), 0, None)
    return float((values * share).sum() / share.sum())
