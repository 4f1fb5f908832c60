"""Paste-back: the original is composited over the result, so that nothing outside the mask changes."""

from __future__ import annotations

from PIL import Image, ImageOps

from modules.imaging.mask import CropRegion
from modules.imaging.resize import resize
from modules.request import ResizeMode


def make_overlay(image: Image.Image, mask: Image.Image) -> Image.Image:
    """The RGBA overlay: RGB `image`, transparent in the white part of L `mask`, opaque where the original stays."""
    overlay = Image.new("RGBa", image.size)
    overlay.paste(image.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(mask))
    return overlay.convert("RGBA")


def uncrop(result: Image.Image, region: CropRegion, size: tuple[int, int]) -> Image.Image:
    """`result` resized to `region` and placed on a transparent RGBA canvas of `size` (width, height)."""
    canvas = Image.new("RGBA", size)
    canvas.paste(resize(ResizeMode.CROP_AND_RESIZE, result, region.size), region.box[:2])
    return canvas


def apply_overlay(result: Image.Image, overlay: Image.Image) -> Image.Image:
    """Composite `overlay` over `result`, upper left corner on upper left corner, and return RGB of the result's size.
    """
    below = result.convert("RGBA")
    below.alpha_composite(overlay)
    return below.convert("RGB")
