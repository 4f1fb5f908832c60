"""Outpainting on the canvas: a picture grows at its sides, and the new part is filled as a start for inpainting."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

Floats = NDArray[np.float32]

OVERLAP = 8
"""Pixels of the old picture along each grown side that the mask includes: one latent cell, to regenerate the seam."""
FADE = 24.0
"""The decay length in pixels with which the mirrored picture fades into its blurred colours."""


@dataclass(frozen=True)
class Sides:
    """The pixels added at each side."""

    left: int = 0
    up: int = 0
    right: int = 0
    down: int = 0

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (width, height) of the grown picture, for a picture of `size`."""
        return self.left + size[0] + self.right, self.up + size[1] + self.down


def grow_picture(image: Image.Image, sides: Sides) -> Image.Image:
    """RGB or RGBA `image` on its larger canvas. Its own pixels are unchanged.

    The new part is the mirrored picture, which fades with the distance into its blurred colours plus grain as strong as
    the picture's detail. The result is deterministic.
    """
    rgb = np.asarray(image.convert("RGB"), np.float32)  # (h, w, 3), 0..255
    border = (sides.up, sides.down, sides.left, sides.right)
    mirrored = np.asarray(cv2.copyMakeBorder(rgb, *border, cv2.BORDER_REFLECT), np.float32)
    smooth = np.asarray(cv2.GaussianBlur(mirrored, (0, 0), max(max(border) / 8, 4.0)), np.float32)
    share = np.exp(-_distance(image.size, sides) / FADE)[..., None]  # (H, W, 1): 1 at the edge, 0 far outside
    grain = np.random.default_rng(0).standard_normal(mirrored.shape, np.float32) * (mirrored - smooth).std((0, 1))
    filled = smooth + share * (mirrored - smooth) + np.sqrt(1 - share**2) * grain
    result = Image.fromarray(filled.round().clip(0, 255).astype(np.uint8)).convert(image.mode)
    result.paste(image, (sides.left, sides.up))
    return result


def grow_mask(mask: Image.Image | None, size: tuple[int, int], sides: Sides) -> Image.Image:
    """The L mask for the larger canvas: white on the new part and `OVERLAP` pixels inside it, elsewhere the old `mask`.

    `size` is the (width, height) of the picture before it grew.
    """
    width, height = size
    inner = (min(OVERLAP, width) if sides.left else 0, min(OVERLAP, height) if sides.up else 0,
             width - (OVERLAP if sides.right else 0), height - (OVERLAP if sides.down else 0))
    old = Image.new("L", size, 255)
    if inner[0] < inner[2] and inner[1] < inner[3]:
        old.paste(0, inner)
    if mask:
        old = ImageChops.lighter(old, mask)
    result = Image.new("L", sides.size(size), 255)
    result.paste(old, (sides.left, sides.up))
    return result


def grow_paint(paint: Image.Image, sides: Sides) -> Image.Image:
    """The RGBA colours on the larger canvas. The new part is transparent."""
    result = Image.new("RGBA", sides.size(paint.size))
    result.paste(paint, (sides.left, sides.up))
    return result


def _distance(size: tuple[int, int], sides: Sides) -> Floats:
    """The distance of each pixel of the canvas to the old picture in pixels, (H, W); 0 inside."""
    (width, height), (new_width, new_height) = size, sides.size(size)
    x = np.arange(new_width, dtype=np.float32) - sides.left
    y = np.arange(new_height, dtype=np.float32) - sides.up
    across = np.maximum(np.maximum(-x, x - (width - 1)), 0)
    down = np.maximum(np.maximum(-y, y - (height - 1)), 0)
    return np.hypot(across[None, :], down[:, None])
