"""Converts pictures of any mode to the two modes used in the program: RGB and RGBA."""

from __future__ import annotations

from PIL import Image


def to_rgb(image: Image.Image) -> Image.Image:
    """`image` as RGB, or as RGBA if it has transparency. Its `info` is kept.

    16-bit grey is scaled to 8 bits, so that 65535 becomes 255; Pillow itself would clip at 255.
    """
    if image.mode.startswith("I;16"):
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == mode else image.convert(mode)
