"""Thumbnails of the picture that the sampler starts from in each Masked content mode.

"surroundings" is PatchMatch's fill, also where a file of models/inpaint is used. "latent noise" and "latent nothing"
look different with each checkpoint. They are drawn with the linear preview of the loaded model. Without a model, noise
is coloured noise with one block for each latent cell, and nothing is flat grey.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from modules.errors import UserError
from modules.imaging.fill import fill
from modules.imaging.remove import Removers
from modules.imaging.sketch import inpaint_sketch
from modules.request import MASKED_CONTENT
from modules.ui.canvas.canvas import MaskData
from modules.ui.tabs.progress_view import data_url

if TYPE_CHECKING:
    from modules.sampling.types import SDModel

SIZE = 176
CELL = 6
"""The pixels of a thumbnail for one latent cell."""
GREY = (128, 120, 112)


def previews_html(picture: MaskData, invert: bool, blur: int, chosen: str, model: SDModel | None = None) -> str:
    """The HTML of four captioned pictures, one for each mode, with `chosen` marked. Empty without a picture. `model`
    must not be in use by a job."""
    if picture.image is None:
        return ""
    start, painted = picture.image, picture.mask
    if picture.paint:
        start, painted = inpaint_sketch(start, painted, picture.paint, blur)
    image, mask = thumbnails(start, painted, invert=invert, blur=blur)
    figures = "".join(
        f'<button type="button" data-mode="{mode}" aria-pressed="{str(mode == chosen).lower()}">'
        f'<img src="{data_url(start)}" alt=""><span>{mode}</span></button>'
        for mode, start in starts(image, mask, model).items())
    return f'<div class="starts" aria-label="What the sampler starts from">{figures}</div>'


def thumbnails(image: Image.Image, mask: Image.Image | None, *, invert: bool,
               blur: int) -> tuple[Image.Image, Image.Image]:
    """The RGB picture and the effective L mask, both reduced to at most `SIZE` pixels a side."""
    small = image.convert("RGB")
    small.thumbnail((SIZE, SIZE))
    paint = (mask or Image.new("L", image.size)).resize(small.size, Image.Resampling.BOX)
    if invert:
        paint = ImageOps.invert(paint)
    if blur and paint.getbbox():
        paint = paint.filter(ImageFilter.GaussianBlur(blur * small.width / image.width))
    return small, paint


def starts(image: Image.Image, mask: Image.Image, model: SDModel | None = None) -> dict[str, Image.Image]:
    """The picture that the sampler starts from, by mode. `image` is RGB, `mask` L of the same size."""
    cells = max(1, image.width // CELL), max(1, image.height // CELL)
    noise, nothing = latent_content(model, cells) if model else drawn_content(cells)
    inside = {
        "fill": fill(image, mask), "original": image, "surroundings": surroundings(image, mask),
        "latent noise": noise.resize(image.size, Image.Resampling.NEAREST),
        "latent nothing": nothing.resize(image.size, Image.Resampling.NEAREST),
    }
    return {mode: Image.composite(inside[mode], image, mask) for mode in MASKED_CONTENT}


def surroundings(image: Image.Image, mask: Image.Image) -> Image.Image:
    """What Remove makes of `image`, at half its size to take no time. As "fill" has it where nothing can be removed."""
    half = max(image.width // 2, 1), max(image.height // 2, 1)
    small = mask.resize(half, Image.Resampling.BOX).point(lambda value: 255 if value else 0)
    try:
        filled = Removers().remove(image.resize(half, Image.Resampling.BOX), small)
    except UserError:
        return fill(image, mask)
    return filled.resize(image.size, Image.Resampling.BICUBIC)


def latent_content(model: SDModel, cells: tuple[int, int]) -> tuple[Image.Image, Image.Image]:
    """Noise and zeros as RGB previews of `model`, with one pixel for each of `cells` (width, height)."""
    import torch

    shape = (4, cells[1], cells[0])
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))

    def picture(latent: torch.Tensor) -> Image.Image:
        colours = model.preview(latent.to(model.device)).cpu()  # (3, h, w) in [0, 1]
        return Image.fromarray((colours * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())

    return picture(noise), picture(torch.zeros(shape))


def drawn_content(cells: tuple[int, int]) -> tuple[Image.Image, Image.Image]:
    """Like `latent_content`, without a model."""
    noise = np.random.default_rng(0).normal(128, 64, (cells[1], cells[0], 3)).clip(0, 255).astype(np.uint8)
    return Image.fromarray(noise), Image.new("RGB", cells, GREY)
