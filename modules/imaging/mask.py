"""The mask in pixels: inverting, blurring, and the crop of "Only masked". White (255) means paint."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageOps

HALF, CLEAR = 128, 230
"""Values of a mask, of 255: what is less is not sampled where the mask is hard, and what is more shows nearly whole."""
SOFT_REACH = 64
"""Soft inpainting changes nothing farther than this from the blurred mask, in pixels of the size that is drawn."""
SPECK = 16
"""Pixels."""
MOST_SPOTS = 32
"""More spots of a mask are painted together."""

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
class Hidden:
    """What a blur hides: `spots` of `all_spots` parts of the mask, and the largest blur in pixels that shows them."""

    spots: int
    all_spots: int
    fitting: int


def hidden_by_blur(mask: Image.Image, sigma_x: int, sigma_y: int) -> Hidden | None:
    """What `blur` hides of an L mask: the spots (parts that do not touch) that are at most half as white afterwards.

    Nothing of the result shows there. Specks of less than `SPECK` pixels do not count beside larger spots. None if
    nothing is hidden.
    """
    sigma, box = max(sigma_x, sigma_y), mask.getbbox()
    if sigma == 0 or box is None:
        return None
    around = (max(box[0] - 3 * sigma, 0), max(box[1] - 3 * sigma, 0), min(box[2] + 3 * sigma, mask.width),
              min(box[3] + 3 * sigma, mask.height))
    part = mask.crop(around)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((np.asarray(part) >= HALF).astype(np.uint8))
    sizes = stats[1:, cv2.CC_STAT_AREA]
    spots = {label for label in range(1, count) if sizes[label - 1] >= min(SPECK, sizes.max())}

    def shown(least: int, x: int, y: int) -> set[int]:
        return spots & set(np.unique(labels[np.asarray(blur(part, x, y)) >= least]).tolist())

    gone = spots - shown(HALF, sigma_x, sigma_y)
    if not gone:
        return None
    low, high = 0, sigma  # `low` shows them nearly whole, or is 0; `high` does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if gone <= shown(CLEAR, middle, middle) else (low, middle)
    return Hidden(len(gone), len(spots), low)


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
    return _padded(box, padding, mask.size)


def region_around(box: Box, picture: tuple[int, int], padding: int, working_size: tuple[int, int]) -> CropRegion:
    """`crop_region` for a mask whose bounding box is `box`, of the size of the `picture` (width, height)."""
    return CropRegion(_expand(_padded(box, padding, picture), working_size, picture))


def _padded(box: Box, padding: int, limits: tuple[int, int]) -> Box:
    left, top, right, bottom = box
    return (max(left - padding, 0), max(top - padding, 0), min(right + padding, limits[0]),
            min(bottom + padding, limits[1]))


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
