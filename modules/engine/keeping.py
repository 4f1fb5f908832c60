"""The keep-brush: parts of other results, or of the original, in a result where they are better."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from PIL import Image, ImageChops

from modules.engine import redo
from modules.errors import InvalidInput
from modules.imaging.modes import to_rgb
from modules.imaging.photograph import to_srgb, with_pixels
from modules.request import Inpaint
from modules.request.options import Options
from modules.request.photograph import Photograph, Pixels
from modules.request.result import GeneratedImage

SOFTNESS = 1.5
"""The standard deviation, in pixels, by which one picture goes over into the other at the edge of a stroke."""


@dataclass(frozen=True)
class Part:
    """A picture and where it is kept: `mask` is L of its size, 255 for all of it."""

    photograph: Photograph
    mask: Image.Image


def parts(labels: Image.Image, pictures: Mapping[int, Photograph]) -> list[Part]:
    """The parts that were painted. L `labels` has 0 where the result stays and elsewhere the number of a picture.

    Raises InvalidInput for a number without a picture, and if nothing is painted.
    """
    values = np.asarray(labels)
    numbers = [int(number) for number in np.unique(values) if number]
    if not numbers:
        raise InvalidInput("Paint over the part that is better in another picture first.")
    if not pictures.keys() >= set(numbers):
        raise InvalidInput("There is no such result, or not any more.")
    return [Part(pictures[number], _softened(values == number)) for number in numbers]


def _softened(inside: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Image.Image:
    levels = inside.astype(np.float32) * 255
    return Image.fromarray(np.rint(cv2.GaussianBlur(levels, (0, 0), SOFTNESS)).astype(np.uint8))


def photograph_of(made: GeneratedImage) -> Photograph:
    """A result in the depth and colours of its photograph; in 8-bit sRGB if it was not made from one."""
    return made.photograph or Photograph(np.asarray(to_rgb(made.image)), made.image)


def keep(made: GeneratedImage, painted: Sequence[Part], options: Options) -> GeneratedImage:
    """The result `made` with the parts `painted`, in its own depth and colours, and with the record of how it was made.

    A pixel has a part's own value where its mask is 255, and that of `made` where no mask is. Raises InvalidInput
    for pictures of other sizes or colours.
    """
    base = photograph_of(made)
    pixels = base.pixels.astype(np.float32)
    for part in painted:
        other = part.photograph
        if other.pixels.shape != base.pixels.shape or other.pixels.dtype != base.pixels.dtype or other.icc != base.icc:
            raise InvalidInput("The pictures differ in size, colours or depth, so parts of one do not fit the other.")
        share = np.asarray(part.mask, np.float32)[..., None] / np.float32(255)
        pixels += share * (other.pixels.astype(np.float32) - base.pixels)
    deepest = np.iinfo(base.pixels.dtype).max
    levels = cast(Pixels, np.rint(pixels).clip(0, deepest).astype(base.pixels.dtype))
    photograph = redo.recorded_parts(with_pixels(base, levels, to_srgb(levels, base.icc)), base,
                                     [(part.photograph, part.mask) for part in painted], options)
    return dataclasses.replace(made, image=photograph.image, photograph=photograph, path=None, extras=())


def request_of(base: Photograph, painted: Sequence[Part]) -> Inpaint:
    """A request that says what was done: the picture, and all that was painted over."""
    mask = Image.new("L", base.size)
    for part in painted:
        mask = ImageChops.lighter(mask, part.mask)
    return Inpaint(init_images=(base.image,), photographs=(base,), mask=mask)
