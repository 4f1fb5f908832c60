"""The preview of soft inpainting: which parts the blend paints at the start, in the middle and at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from modules.imaging.mask import prepare
from modules.ui.canvas.canvas import MaskData
from modules.ui.controls.content_previews import SIZE
from modules.ui.tabs.progress_view import data_url

if TYPE_CHECKING:
    from torch import Tensor

    from modules.sampling.types import SDModel

ACCENT = (37, 99, 235)
MOMENTS = ("start", "middle", "end")


def soft_html(picture: MaskData, levels: list[float], *, invert: bool, blur: int, size: tuple[int, int], power: float,
              scale: float) -> str:
    """The HTML of the picture at the first, middle and last of `levels`. Painted parts are blue, fainter where more of
    the original is kept.

    `size` (width, height) is that of the request; the whole picture is shown. Empty without picture or mask.
    """
    if picture.image is None or picture.mask is None:
        return ""
    mask = prepare(picture.mask, invert=invert, blur_x=blur, blur_y=blur, hard=False)
    small = picture.image.convert("RGB")
    small.thumbnail((SIZE, SIZE))
    figures = "".join(
        f'<figure><img src="{data_url(tinted(small, cells))}" alt=""><figcaption>{moment}</figcaption></figure>'
        for moment, cells in zip(MOMENTS, shares(mask, levels, size, power, scale), strict=True))
    return f'<div class="starts soft-view" aria-label="What is painted when">{figures}</div>'


def shares(mask: Image.Image, levels: list[float], size: tuple[int, int], power: float, scale: float) -> list[Tensor]:
    """The painted share of each latent cell, (h, w) in [0, 1], at the first, middle and last level.

    The formula is that of `sampling.mask.soft_blend`. The mask is reduced to the latent's size as for sampling.
    """
    from modules.imaging.tensors import latent_mask

    paint = latent_mask(mask, (max(size[0] // 8, 1), max(size[1] // 8, 1)), hard=False)[0, 0]
    return [paint ** (level**power * scale) for level in (levels[0], levels[len(levels) // 2], levels[-1])]


def noise_levels(sampler_name: str, scheduler: str, steps: int, strength: float, ddim_loop: str,
                 model: SDModel | None = None) -> list[float]:
    """The level that the blend gets at each step, descending: a sigma, or a timestep in WebUI 1.10's loop.

    `model` is the one that will sample; None stands for any with Stable Diffusion 1.x's noise schedule. Raises
    InvalidInput for an unknown sampler or schedule.
    """
    import torch

    from modules.sampling import registry
    from modules.sampling.levels import stable_diffusion
    from modules.sampling.sample import InitLatent, Plan, build_sigmas
    from modules.sampling.schedules import timesteps

    levels = stable_diffusion() if model is None else model.levels
    sampler, schedule = registry.resolve(sampler_name, scheduler)
    asked, below = InitLatent(torch.empty(0), strength).steps(max(steps, 1))
    if sampler.timesteps:
        grid = timesteps(asked)[: below + 1][::-1]
        classic = "before_step" in sampler.wants and ddim_loop == "classic"
        return levels.sigmas[grid].tolist() if classic else [float(t) for t in grid]
    sigmas = build_sigmas(Plan(sampler, schedule, steps), sampler.levels(levels), asked)
    return [float(sigma) for sigma in sigmas[asked - below - 1 : -1]]


def tinted(image: Image.Image, share: Tensor) -> Image.Image:
    """`image` with a blue overlay whose opacity is `share` (h, w), in one block for each cell."""
    veil = Image.fromarray((share.clamp(0, 1) * 200).byte().numpy()).resize(image.size, Image.Resampling.NEAREST)
    return Image.composite(Image.new("RGB", image.size, ACCENT), image, veil)
