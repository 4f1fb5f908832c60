"""Bringing pictures of any mode to the two that everything here works on."""

from __future__ import annotations

from PIL import Image


def to_rgb(image: Image.Image) -> Image.Image:
    """`image` as RGB, or as RGBA where it has transparency, with its `info`.

    16-bit grey is brought to 8 bits, 65535 becoming 255: Pillow would cut it off at 255 instead.
    """
    if image.mode.startswith("I;16"):
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == mode else image.convert(mode)
