"""Which part of a picture is worked on, and at which size.

A checkpoint draws pictures of about one area well: that of its own size, such as 512 x 512.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeVar

from PIL import Image

from modules.imaging.mask import Box, CropRegion, crop_region, hidden_by_blur, of_size, padded_box, prepare
from modules.request import Img2Img, Inpaint

Size = tuple[int, int]
Requested = TypeVar("Requested", bound=Img2Img)

SUITS = 0.5, 1.25
"""A picture is drawn well in its own size from this share of the checkpoint's area to that one."""
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


def with_proportions(request: Requested) -> Requested:
    """`request` at a size that squashes nothing. Its own width and height tell the area that the checkpoint draws."""
    area, picture = request.width * request.height, request.init_images[0].size
    box = _part(request) if isinstance(request, Inpaint) and request.only_masked else None
    width, height = part_size((box[2] - box[0], box[3] - box[1]), area) if box else whole_size(picture, area)
    return replace(request, width=width, height=height)


def with_suitable_area(request: Inpaint) -> Inpaint:
    """`request` as Only masked, unless nothing is painted or its picture is drawn well in its own size."""
    own = suits(request.init_images[0].size, request.width * request.height)
    return replace(request, only_masked=not own and _part(request) is not None)


def used_mask(request: Inpaint) -> Image.Image:
    """The L mask as the sampler and the overlay get it: luminance or alpha, inverted if asked for, then blurred."""
    return prepare(request.mask, invert=request.mask_invert, blur_x=request.mask_blur_x, blur_y=request.mask_blur_y,
                   hard=request.mask_round)


def blur_warning(request: Inpaint) -> tuple[str, int] | None:
    """A sentence for a mask blur that hides painted spots, and the largest blur that does not. None for others."""
    sharp = prepare(request.mask, invert=request.mask_invert, blur_x=0, blur_y=0, hard=request.mask_round)
    hidden = hidden_by_blur(sharp, request.mask_blur_x, request.mask_blur_y)
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


def _part(request: Inpaint) -> Box | None:
    """The box around the mask before it is brought to the proportions of a size. None for a black mask."""
    mask = of_size(used_mask(request), request.init_images[0].size)
    return padded_box(mask, request.only_masked_padding, request.frame)


def _step(area: int) -> int:
    """64 pixels, or less for checkpoints of less than 512 x 512: an eighth of their side."""
    return min(64, max(8, round(math.sqrt(area) / 64) * 8))


def _nearest(length: float, step: int) -> int:
    return max(round(length / step), 1) * step
