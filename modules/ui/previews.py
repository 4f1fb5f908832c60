"""Small pictures of what the sampler starts from in each Masked content mode.

They are drawn with Pillow alone, at thumbnail size. What "latent noise" and "latent nothing" decode to depends on the
checkpoint's VAE; here noise is coloured noise in blocks of one latent pixel and nothing is flat grey.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from modules.imaging.fill import fill
from modules.ui.canvas import MaskData
from modules.ui.controls import MASKED_CONTENT
from modules.ui.results import data_url

SIZE = 176
GREY = (128, 120, 112)


def previews_html(picture: MaskData, invert: bool, blur: int, chosen: str) -> str:
    """The four modes as captioned pictures, `chosen` marked; empty without a picture."""
    if picture.image is None:
        return ""
    image, mask = thumbnails(picture.image, picture.mask, invert=invert, blur=blur)
    figures = "".join(
        f'<button type="button" data-mode="{mode}" aria-pressed="{str(mode == chosen).lower()}">'
        f'<img src="{data_url(start)}" alt=""><span>{mode}</span></button>'
        for mode, start in starts(image, mask).items())
    return f'<div class="starts" aria-label="What the sampler starts from">{figures}</div>'


def thumbnails(image: Image.Image, mask: Image.Image | None, *, invert: bool,
               blur: int) -> tuple[Image.Image, Image.Image]:
    """RGB picture and effective L mask, both at most `SIZE` pixels."""
    small = image.convert("RGB")
    small.thumbnail((SIZE, SIZE))
    paint = (mask or Image.new("L", image.size)).resize(small.size, Image.Resampling.BOX)
    if invert:
        paint = ImageOps.invert(paint)
    if blur and paint.getbbox():
        paint = paint.filter(ImageFilter.GaussianBlur(blur * small.width / image.width))
    return small, paint


def starts(image: Image.Image, mask: Image.Image) -> dict[str, Image.Image]:
    """For each mode the picture that the sampler starts from; RGB `image`, L `mask` of the same size."""
    filled = fill(image, mask)
    blocks = max(1, image.width // 6), max(1, image.height // 6)
    noise = np.random.default_rng(0).normal(128, 64, (blocks[1], blocks[0], 3)).clip(0, 255).astype(np.uint8)
    inside = {
        "fill": filled,
        "original": image,
        "latent noise": Image.fromarray(noise).resize(image.size, Image.Resampling.NEAREST),
        "latent nothing": Image.new("RGB", image.size, GREY),
    }
    return {mode: Image.composite(inside[mode], image, mask) for mode in MASKED_CONTENT}
