"""Masked content "fill": the painted part is filled with the colours around it before the picture is encoded."""

from __future__ import annotations

from PIL import Image, ImageFilter, ImageOps


def fill(image: Image.Image, mask: Image.Image) -> Image.Image:
    """RGB `image` with the white part of L `mask` (same size) filled from its surroundings (WebUI's `masking.fill`).

    The kept pixels, premultiplied by their alpha, are blurred with decreasing radii, and the layers are composited.
    """
    kept = Image.new("RGBa", image.size)
    kept.paste(image.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(mask))
    result = Image.new("RGBA", image.size)
    for radius, times in ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1)):
        layer = kept.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(times):
            result.alpha_composite(layer)
    return result.convert("RGB")
