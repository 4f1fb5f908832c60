"""The picture and the mask that a preprocessor is given."""

from __future__ import annotations

import numpy as np
from PIL import Image

from modules.annotate.preprocessor import Pixels
from modules.errors import InvalidInput

EMPTY, FULL = 5, 250
"""A mask is not a scribble if no value is above the first, or none below the second."""


def rgb_pixels(image: Image.Image) -> Pixels:
    """(H, W, 3) of a picture of any mode, transparent parts over white."""
    if not image.has_transparency_data:
        return np.array(image.convert("RGB"))
    rgba = np.asarray(image.convert("RGBA"), dtype=np.float32)
    alpha = rgba[:, :, 3:] / 255.0
    over_white: Pixels = (rgba[:, :, :3] * alpha + 255.0 * (1.0 - alpha)).clip(0, 255).astype(np.uint8)
    return over_white


def mask_pixels(mask: Image.Image) -> Pixels:
    """(H, W, 1): the first channel of a mask of any mode."""
    return np.array(mask if mask.mode == "L" else mask.convert("RGB").getchannel("R"))[:, :, None]


def with_mask(picture: Pixels, mask: Pixels | None) -> Pixels:
    """(H, W, 4): RGB, then the mask (H, W, 1), or 0 where there is none. Raises InvalidInput for different sizes."""
    if mask is None:
        mask = np.zeros((*picture.shape[:2], 1), np.uint8)
    if mask.shape[:2] != picture.shape[:2]:
        sizes = [f"{shape[1]} x {shape[0]}" for shape in (mask.shape, picture.shape)]
        raise InvalidInput(f"The mask of a control picture has its size: it is {sizes[0]}, the picture {sizes[1]}.")
    return np.concatenate([picture, mask], axis=2)


def is_scribble(mask: Pixels) -> bool:
    """Whether something is drawn in a mask, on the rest of it."""
    return not ((mask <= EMPTY).all() or (mask >= FULL).all())


def picture_of(picture: Pixels, mask: Pixels | None, *, takes_mask: bool) -> Pixels:
    """What a preprocessor works on: (H, W, 4) where it `takes_mask`, else RGB. A mask that something is drawn in is
    itself the picture of a preprocessor without masks. Raises InvalidInput for different sizes."""
    both = with_mask(picture, mask)
    if takes_mask:
        return both
    drawn = both[:, :, 3:]
    return np.repeat(drawn, 3, axis=2) if is_scribble(drawn) else both[:, :, :3]
