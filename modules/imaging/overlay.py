"""Paste back: the original laid over the result, so that outside the mask nothing changes."""

from __future__ import annotations

from PIL import Image, ImageOps

from modules.imaging.mask import CropRegion
from modules.imaging.resize import resize
from modules.request import ResizeMode


def make_overlay(image: Image.Image, mask: Image.Image) -> Image.Image:
    """RGB `image` with the white part of L `mask` cut out: RGBA, alpha 255 where the original stays."""
    overlay = Image.new("RGBa", image.size)
    overlay.paste(image.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(mask))
    return overlay.convert("RGBA")


def uncrop(result: Image.Image, region: CropRegion, size: tuple[int, int]) -> Image.Image:
    """`result` brought to the size of `region` and put in its place on a transparent canvas of `size`, RGBA."""
    canvas = Image.new("RGBA", size)
    canvas.paste(resize(ResizeMode.CROP_AND_RESIZE, result, region.size), region.box[:2])
    return canvas


def apply_overlay(result: Image.Image, overlay: Image.Image, region: CropRegion | None) -> Image.Image:
    """`overlay` on top of `result` (uncropped first when there is a `region`), RGB.

    The result has the overlay's size with a region and its own without; the upper left corners meet.
    """
    below = uncrop(result, region, overlay.size) if region else result.convert("RGBA")
    below.alpha_composite(overlay)
    return below.convert("RGB")
