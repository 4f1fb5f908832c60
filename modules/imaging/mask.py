"""The mask in pixels: inverting, blurring, and the crop of "Only masked". White (255) means paint."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageOps

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels, right and bottom exclusive."""


def to_luminance(mask: Image.Image, *, hard: bool) -> Image.Image:
    """A mask of any mode as L. A mask with transparency gives its alpha channel. `hard` thresholds that: values above
    128 become 255, the rest 0. Other masks stay soft."""
    if mask.mode in ("RGBA", "LA", "PA") and mask.getchannel("A").getextrema()[0] != 255:
        alpha = mask.getchannel("A")
        return alpha.point(lambda value: 255 if value > 128 else 0) if hard else alpha
    return mask.convert("L")


def blur(mask: Image.Image, sigma_x: int, sigma_y: int) -> Image.Image:
    """Gaussian blur of an L mask, separately along each axis, with WebUI's kernel of 2.5 sigmas to each side."""
    pixels = np.asarray(mask)
    for sigma, axis in ((sigma_x, 0), (sigma_y, 1)):
        if sigma > 0:
            length = 2 * int(2.5 * sigma + 0.5) + 1
            kernel = (length, 1) if axis == 0 else (1, length)
            pixels = cv2.GaussianBlur(pixels, kernel, sigma)
    return Image.fromarray(np.ascontiguousarray(pixels))


def prepare(mask: Image.Image, *, invert: bool, blur_x: int, blur_y: int, hard: bool) -> Image.Image:
    """The effective L mask: luminance or alpha, inverted for "Inpaint not masked", then blurred."""
    luminance = to_luminance(mask, hard=hard)
    return blur(ImageOps.invert(luminance) if invert else luminance, blur_x, blur_y)


@dataclass(frozen=True)
class CropRegion:
    """The part of a picture that "Only masked" works on."""

    box: Box

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        left, top, right, bottom = self.box
        return right - left, bottom - top


def of_size(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """`mask` stretched to `size` (width, height), unless it has that size."""
    return mask if mask.size == size else mask.resize(size, Image.Resampling.LANCZOS)


def crop_region(mask: Image.Image, padding: int, working_size: tuple[int, int],
                frame: Box | None = None) -> CropRegion | None:
    """The `padded_box` of an L mask, extended to the aspect ratio of `working_size` (width, height). None for a black
    mask."""
    box = padded_box(mask, padding, frame)
    return None if box is None else CropRegion(_expand(box, working_size, mask.size))


def padded_box(mask: Image.Image, padding: int, frame: Box | None = None) -> Box | None:
    """The bounding box of an L mask, extended by `padding` pixels, or where there is a `frame`, by that box instead.

    It lies inside the picture. None for a black mask.
    """
    box = mask.getbbox()
    if box is None:
        return None
    width, height = mask.size
    left, top, right, bottom = box
    if frame and frame[0] < width and frame[1] < height:
        return min(left, frame[0]), min(top, frame[1]), max(right, min(frame[2], width)), max(bottom, min(frame[3],
                                                                                                          height))
    return max(left - padding, 0), max(top - padding, 0), min(right + padding, width), min(bottom + padding, height)


def _expand(box: Box, shape: tuple[int, int], limits: tuple[int, int]) -> Box:
    """Grow the short side of `box` to the aspect ratio of `shape` (WebUI's `masking.expand_crop_region`)."""
    left, top, right, bottom = box
    if (right - left) / (bottom - top) > shape[0] / shape[1]:
        top, bottom = _grow(top, bottom, (right - left) * shape[1] / shape[0], limits[1])
    else:
        left, right = _grow(left, right, (bottom - top) * shape[0] / shape[1], limits[0])
    return left, top, right, bottom


def _grow(start: int, end: int, wanted: float, limit: int) -> tuple[int, int]:
    """Lengthen a span to `wanted`, half before and the rest after, then shift it into 0..limit and clip it."""
    more = int(wanted - (end - start))
    start -= more // 2
    end += more - more // 2
    if end >= limit:
        start, end = start - (end - limit), limit
    if start < 0:
        start, end = 0, min(end - start, limit)
    return start, end
