"""Resizing a picture to the size of the request, with WebUI's arithmetic (`images.resize_image`)."""

from __future__ import annotations

import numpy as np
from PIL import Image

from modules.request import ResizeMode

Size = tuple[int, int]
Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels, right and bottom exclusive."""


def resize(mode: ResizeMode, image: Image.Image, size: Size) -> Image.Image:
    """`image` at `size` (width, height). Crop and fill return RGB; the other modes keep the image's mode.

    JUST_RESIZE stretches. CROP_AND_RESIZE covers the size and crops the middle. RESIZE_AND_FILL fits the image inside
    and fills the two bands with the stretched edge row or column. LATENT_UPSCALE concerns latents;
    here it stretches.
    """
    if mode == ResizeMode.CROP_AND_RESIZE:
        return _cover(image, size)
    if mode == ResizeMode.RESIZE_AND_FILL:
        return _fit(image, size)
    return image.resize(size, Image.Resampling.LANCZOS)


def _cover(image: Image.Image, size: Size) -> Image.Image:
    width, height = size
    wider = width / height > image.width / image.height
    scaled = (width, image.height * width // image.width) if wider else (image.width * height // image.height, height)
    return _centred(image.resize(_positive(scaled), Image.Resampling.LANCZOS), size)


def _fit(image: Image.Image, size: Size) -> Image.Image:
    width, height = size
    wider = width / height > image.width / image.height
    scaled = (image.width * height // image.height, height) if wider else (width, image.height * width // image.width)
    small = image.resize(_positive(scaled), Image.Resampling.LANCZOS)
    result = _centred(small, size)
    left, top = width // 2 - small.width // 2, height // 2 - small.height // 2
    right, bottom = width - left - small.width, height - top - small.height  # WebUI leaves an odd last line black
    if left > 0:
        result.paste(small.resize((left, height), box=(0, 0, 0, small.height)), (0, 0))
    if right > 0:
        column = small.resize((right, height), box=(small.width, 0, small.width, small.height))
        result.paste(column, (left + small.width, 0))
    if top > 0:
        result.paste(small.resize((width, top), box=(0, 0, small.width, 0)), (0, 0))
    if bottom > 0:
        row = small.resize((width, bottom), box=(0, small.height, small.width, small.height))
        result.paste(row, (0, top + small.height))
    return result


def _centred(image: Image.Image, size: Size) -> Image.Image:
    result = Image.new("RGB", size)
    result.paste(image, (size[0] // 2 - image.width // 2, size[1] // 2 - image.height // 2))
    return result


def _positive(size: Size) -> Size:
    return max(size[0], 1), max(size[1], 1)


def flatten(image: Image.Image, background: str) -> Image.Image:
    """`image` as RGB, composited over the colour `background` (such as "#ffffff")."""
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGBA", rgba.size, background)
        canvas.alpha_composite(rgba)
        return canvas.convert("RGB")
    return image.convert("RGB")


def crop(image: Image.Image, box: Box) -> Image.Image:
    """Crop `image` (L or RGB) to `box`. Outside the image, the pixels of its edges are repeated."""
    left, top, right, bottom = box
    rows = np.clip(np.arange(top, bottom), 0, image.height - 1)
    columns = np.clip(np.arange(left, right), 0, image.width - 1)
    return Image.fromarray(np.asarray(image)[rows[:, None], columns])


def pad_to_multiple(image: Image.Image, multiple: int = 8) -> Image.Image:
    """`image` (L or RGB) with its last row and column repeated until both sides are multiples of `multiple`."""
    width, height = image.size
    right, bottom = -width % multiple, -height % multiple
    return crop(image, (0, 0, width + right, height + bottom)) if right or bottom else image
