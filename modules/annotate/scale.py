"""Bringing a picture to the resolution at which a preprocessor works, and pixel perfect."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from modules.annotate.preprocessor import Pixels
from modules.errors import InvalidInput

Size = tuple[int, int]
MOST_PIXELS = 2**26
BLOCK = 64
"""Pixels. Networks want sides that are multiples of it."""


def checked(size: Size) -> Size:
    """`size` (width, height) with sides of at least one pixel. Raises InvalidInput for one that would fill the memory.
    """
    width, height = max(size[0], 1), max(size[1], 1)
    if width * height > MOST_PIXELS:
        raise InvalidInput(f"The control picture is so long and narrow that it would have {width} x {height} pixels; "
                           "crop it, or lower the resolution.")
    return width, height


def pixel_perfect(picture: Size, target: Size, *, fill: bool) -> int:
    """The resolution at which one pixel of the map becomes one pixel of the hint. Sizes are (width, height).

    `fill` is for Resize and Fill, where the whole picture is inside `target`; else the picture covers it.
    """
    width, height = picture
    scale = (min if fill else max)(target[0] / width, target[1] / height)
    return round(scale * min(width, height))


def scaled(picture: Pixels, resolution: float) -> Pixels:
    """`picture` with a shorter side of `resolution` pixels. Raises InvalidInput as `checked`."""
    height, width = picture.shape[:2]
    scale = resolution / min(height, width)
    size = checked((round(width * scale), round(height * scale)))
    return resized(picture, size, cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)


def on_blocks(picture: Pixels, compute: Callable[[Pixels], Pixels]) -> Pixels:
    """What `compute` makes of `picture`, whose right and lower edges are repeated up to multiples of `BLOCK`."""
    height, width = picture.shape[:2]
    padded = np.pad(picture, ((0, -height % BLOCK), (0, -width % BLOCK), (0, 0)), mode="edge")
    return compute(padded)[:height, :width]


def resized(picture: Pixels, size: Size, interpolation: int) -> Pixels:
    """`picture` at `size` (width, height), by one of OpenCV's interpolations."""
    return np.asarray(cv2.resize(picture, size, interpolation=interpolation), dtype=picture.dtype)


def three_channels(grey: Pixels) -> Pixels:
    """(H, W) to (H, W, 3)."""
    return np.repeat(grey[:, :, None], 3, axis=2)
