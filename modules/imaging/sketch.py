"""Colours painted over a picture: as a part of the picture (sketch), or as picture and mask (inpaint sketch).

`image` is RGB or RGBA. `paint` is RGBA of the same size; its alpha is the opacity of the colours.
"""

from __future__ import annotations

from PIL import Image, ImageChops, ImageFilter


def lay(image: Image.Image, paint: Image.Image) -> Image.Image:
    """`image` with the colours painted on it, in the mode of `image` (WebUI's tab "Sketch")."""
    result = image.convert("RGBA")
    result.alpha_composite(paint)
    return result.convert(image.mode)


def inpaint_sketch(image: Image.Image, mask: Image.Image | None, paint: Image.Image,
                   blur: int) -> tuple[Image.Image, Image.Image]:
    """Return the init image and the L mask. The mask is the union of `mask`, if given, and the coloured pixels.

    The colours are blended in with soft edges, as in WebUI's tab "Inpaint sketch": the picture with its colours and the
    mask of the colours both get a Gaussian blur of `blur` pixels. The colours' opacity here corresponds to WebUI's
    slider "Mask transparency".
    """
    alpha = paint.getchannel("A")
    opaque = paint.copy()
    opaque.putalpha(alpha.point(lambda value: 255 if value else 0))
    gaussian = ImageFilter.GaussianBlur(blur)
    blended = Image.composite(lay(image, opaque).filter(gaussian), image, alpha.filter(gaussian))
    return blended, ImageChops.lighter(mask, alpha) if mask else alpha
