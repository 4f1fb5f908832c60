"""Which part of a picture is worked on, and at which size.

A checkpoint draws pictures of about one area well: that of its own size, such as 512 x 512.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modules.imaging.mask import (
    MOST_SPOTS,
    Box,
    CropRegion,
    crop_region,
    hidden_by_blur,
    of_size,
    padded_box,
    prepare,
    region_around,
)
from modules.request import Img2Img, Inpaint
from modules.request.spot_prompts import has_spot_prompts

Size = tuple[int, int]
Requested = TypeVar("Requested", bound=Img2Img)

SUITS = 0.5, 1.25
"""A picture is drawn well in its own size from this share of the checkpoint's area to that one."""
APART = 2
"""Spots are worked on by themselves if that saves more than this factor of pixels."""
NARROWEST = 2
"""A part of a picture is widened until its long side is at most so many times its short side."""
LONGEST = 4
"""The long side of a whole picture is at most so many times the side of a square of the checkpoint's area."""


def suits(picture: Size, area: int) -> bool:
    """Whether a `picture` (width, height) is drawn well in its own size by a checkpoint that draws `area` pixels."""
    return SUITS[0] * area <= picture[0] * picture[1] <= SUITS[1] * area


def whole_size(picture: Size, area: int) -> Size:
    """The size in which a checkpoint that draws `area` pixels draws the whole `picture` (width, height).

    It is the picture's own size if that suits. Otherwise it has the picture's proportions: the long side is the
    multiple of 64 pixels that comes nearest to `area`, and the short side follows.
    """
    if suits(picture, area):
        return picture
    long, short = max(picture), min(picture)
    step, side = _step(area), math.sqrt(area)
    length = min(_nearest(math.sqrt(area * long / short), step), LONGEST * _nearest(side, step))
    other = max(round(length * short / long), 8)
    return (length, other) if picture[0] >= picture[1] else (other, length)


def part_size(part: Size, area: int) -> Size:
    """The size in which a checkpoint that draws `area` pixels draws a `part` (width, height) of a picture.

    Both sides are multiples of 64 pixels, of about that area and about the part's proportions, which are taken to be
    at most 2 to 1. `crop_region` extends the part to the proportions of the result.
    """
    ratio = min(max(part[0] / part[1], 1 / NARROWEST), NARROWEST)
    return _nearest(math.sqrt(area * ratio), _step(area)), _nearest(math.sqrt(area / ratio), _step(area))


def with_proportions(request: Requested, mask: Image.Image | None = None) -> Requested:
    """`request` at a size that squashes nothing. Its own width and height tell the area that the checkpoint draws.

    `mask` is what `placed_mask` made, if it is there already; likewise in `working_regions`.
    """
    area, picture = request.width * request.height, request.init_images[0].size
    if isinstance(request, Inpaint) and request.each_spot:
        width, height = part_size((1, 1), area)
        return replace(request, width=width, height=height)
    box = _part(request, mask or placed_mask(request)) if isinstance(request, Inpaint) and request.only_masked else None
    width, height = part_size((box[2] - box[0], box[3] - box[1]), area) if box else whole_size(picture, area)
    return replace(request, width=width, height=height)


def with_suitable_area(request: Inpaint) -> Inpaint:
    """`request` as Only masked, unless nothing is painted or its picture is drawn well in its own size.

    Each spot is worked on by itself if the prompt has lines for spots, or if the part around all of them has more than
    `APART` times the pixels of the parts around each.
    """
    own, mask = suits(request.init_images[0].size, request.width * request.height), placed_mask(request)
    if mask.getbbox() is None:
        return request
    apart = replace(request, only_masked=True, each_spot=True)
    if has_spot_prompts(request.prompt):
        return apart
    if own or request.frame:
        return replace(request, only_masked=not own)
    together = replace(apart, each_spot=False)
    joint, separate = (sum(_pixels(region) for region in working_regions(with_proportions(one, mask), mask))
                       for one in (together, apart))
    return replace(apart, each_spot=joint > APART * separate)


def used_mask(request: Inpaint) -> Image.Image:
    """The L mask as the sampler and the overlay get it: luminance or alpha, inverted if asked for, then blurred."""
    return prepare(request.mask, invert=request.mask_invert, blur_x=request.mask_blur_x, blur_y=request.mask_blur_y,
                   hard=request.mask_round)


def placed_mask(request: Inpaint) -> Image.Image:
    """`used_mask` in the size of the picture."""
    return of_size(used_mask(request), request.init_images[0].size)


def _sharp_mask(request: Inpaint) -> Image.Image:
    """`used_mask` without its blur."""
    return prepare(request.mask, invert=request.mask_invert, blur_x=0, blur_y=0, hard=request.mask_round)


def spot_masks(request: Inpaint) -> list[Image.Image]:
    """The L masks of the spots, from top to bottom: the parts of the mask that do not touch when they are blurred.

    They are not blurred, and white is painted whatever the mask mode is. Of more than `MOST_SPOTS` they are all black.
    """
    mask = np.asarray(_sharp_mask(request))
    labels, spots = _spots(used_mask(request))
    if len(spots) > MOST_SPOTS:
        return [Image.new("L", request.mask.size)] * len(spots)
    return [Image.fromarray(np.where(labels == label, mask, 0).astype(np.uint8)) for label, _ in spots]


def working_regions(request: Inpaint, mask: Image.Image | None = None) -> tuple[CropRegion, ...]:
    """The parts that an Only masked `request` works on, one after another: one for each spot, or one for all."""
    mask, size = mask or placed_mask(request), (request.width, request.height)
    boxes = [box for _, box in _spots(mask)[1]] if request.each_spot else []
    if not 0 < len(boxes) <= MOST_SPOTS:
        region = working_region(request, mask)
        return (region,) if region else ()
    return tuple(region_around(box, mask.size, request.only_masked_padding, size) for box in boxes)


def _spots(mask: Image.Image) -> tuple[NDArray[np.int32], list[tuple[int, Box]]]:
    """A number for each pixel of an L mask, and (number, bounding box) of each spot, from top to bottom."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((np.asarray(mask) > 0).astype(np.uint8), connectivity=8)
    boxes = [(int(x), int(y), int(x + width), int(y + height)) for x, y, width, height, _ in stats[1:]]
    order = sorted(enumerate(boxes, 1), key=lambda spot: (spot[1][1], spot[1][0]))
    return labels.astype(np.int32), order


def blur_warning(request: Inpaint) -> tuple[str, int] | None:
    """A sentence for a mask blur that hides painted spots, and the largest blur that does not. None for others."""
    hidden = hidden_by_blur(_sharp_mask(request), request.mask_blur_x, request.mask_blur_y)
    if hidden is None:
        return None
    blur = max(request.mask_blur_x, request.mask_blur_y)
    if hidden.spots == hidden.all_spots:
        return f"The mask blur of {blur} hides all that is painted; {hidden.fitting} fits.", hidden.fitting
    return (f"The mask blur of {blur} hides {hidden.spots} of {hidden.all_spots} painted spots; {hidden.fitting} fits.",
            hidden.fitting)


def working_region(request: Inpaint, mask: Image.Image) -> CropRegion | None:
    """The part that an Only masked `request` works on; `mask` is what `used_mask` made. None for a black mask."""
    return crop_region(of_size(mask, request.init_images[0].size), request.only_masked_padding,
                       (request.width, request.height), request.frame)


def _pixels(region: CropRegion) -> int:
    return region.size[0] * region.size[1]


def _part(request: Inpaint, mask: Image.Image) -> Box | None:
    """The box around the `placed_mask` before it is brought to the proportions of a size. None for a black mask."""
    return padded_box(mask, request.only_masked_padding, request.frame)


def _step(area: int) -> int:
    """64 pixels, or less for checkpoints of less than 512 x 512: an eighth of their side."""
    return min(64, max(8, round(math.sqrt(area) / 64) * 8))


def _nearest(length: float, step: int) -> int:
    return max(round(length / step), 1) * step
