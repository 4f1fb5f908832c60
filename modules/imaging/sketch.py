"""Colours painted over a picture: part of the picture (sketch), or picture and mask at once (inpaint sketch).

`image` is RGB or RGBA; `paint` is RGBA of the same size, its alpha the opacity of the colour.
"""

from __future__ import annotations

from PIL import Image, ImageChops, ImageFilter


def lay(image: Image.Image, paint: Image.Image) -> Image.Image:
    """`image` with the colours on it, in its own mode (WebUI's tab "Sketch")."""
    result = image.convert("RGBA")
    result.alpha_composite(paint)
    return result.convert(image.mode)


def inpaint_sketch(image: Image.Image, mask: Image.Image | None, paint: Image.Image,
                   blur: int) -> tuple[Image.Image, Image.Image]:
    """The picture to start from and the L mask: white `mask` (if any) together with where colours are.

    The colours are blended in with blurred edges: blurred colours over the picture through the blurred mask, a Gaussian
    of `blur` pixels for both, as WebUI's tab "Inpaint sketch" does. There the slider "Mask transparency" is what the
    colours' opacity is here.
    """
    alpha = paint.getchannel("A")
    opaque = paint.copy()
    opaque.putalpha(alpha.point(lambda value: 255 if value else 0))
    gaussian = ImageFilter.GaussianBlur(blur)
    blended = Image.composite(lay(image, opaque).filter(gaussian), image, alpha.filter(gaussian))
    return blended, ImageChops.lighter(mask, alpha) if mask else alpha
