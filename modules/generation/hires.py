"""Hires fix between its two passes: how large the second one is, and the first one's latent enlarged to that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from modules.imaging import tensors
from modules.imaging.upscale import LATENT_UPSCALERS, Upscalers
from modules.request import Txt2Img
from modules.request.job_context import JobContext
from modules.sampling.types import SDModel

Size = tuple[int, int]
MULTIPLE = 8
"""Pixels that the second pass's width and height are multiples of, for every family (WebUI)."""

@dataclass(frozen=True)
class HiresSize:
    """In pixels, (width, height): what is asked for, what the picture is enlarged to, which is whole cells, and what is
    left of it after cutting."""

    asked: Size
    enlarged: Size
    cut: Size


def hires_size(request: Txt2Img) -> HiresSize:
    """The second pass's size: by scale, by one side, or to cover a box whose overhang is cut off."""
    width, height, x, y = request.width, request.height, request.hr_resize_x, request.hr_resize_y
    if not x and not y:
        size = int(width * request.hr_scale), int(height * request.hr_scale)
        return HiresSize(size, _whole(size), _whole(size))
    if not x or not y:
        size = (x, x * height // width) if x else (y * width // height, y)
        return HiresSize(size, _whole(size), _whole(size))
    size = (x, x * height // width) if width / height < x / y else (y * width // height, y)
    return HiresSize(size, _whole(size), _whole((x, y)))


def check_upscaler(name: str, upscalers: Upscalers) -> None:
    """Raises InvalidInput when neither latents nor pixels have an upscaler of that name."""
    if name not in LATENT_UPSCALERS:
        upscalers.check(name, "hr_upscaler")


def stand_ins(request: Txt2Img, upscalers: Upscalers) -> list[str]:
    """A sentence where Lanczos does the work of the upscaler that was asked for."""
    sentence = upscalers.stand_in(request.hr_upscaler) if request.enable_hr else None
    return [sentence] if sentence else []


def enlarge(model: SDModel, first: Tensor | Sequence[Image.Image], request: Txt2Img, upscalers: Upscalers,
            job: JobContext) -> Tensor:
    """What the second pass starts from, (B, C, h', w'): the latent (B, C, h, w) of the first pass enlarged as such, or
    its pictures enlarged and encoded."""
    size = hires_size(request)
    width, height = size.enlarged
    if isinstance(first, Tensor):
        mode, antialias = LATENT_UPSCALERS[request.hr_upscaler]
        larger = F.interpolate(first, size=model.latent.cells((width, height))[::-1], mode=mode, antialias=antialias)
    else:
        def tell(done: int, total: int) -> None:
            job.stage(f"Enlarging: {done / total:.0%}")
            job.check()

        pixels = tensors.to_tensor([upscalers.to_size(request.hr_upscaler, image, size.enlarged, tell)
                                    for image in first])
        larger = torch.cat([model.encode_image(one[None].to(model.device)) for one in pixels])
    return _cut_middle(larger, model.latent.cells(size.cut))


def _cut_middle(latent: Tensor, size: Size) -> Tensor:
    """The middle of latent (B, C, h, w), at most `size` (width, height) cells of it."""
    width, height = size
    top, left = max(latent.shape[2] - height, 0) // 2, max(latent.shape[3] - width, 0) // 2
    return latent[:, :, top : top + height, left : left + width]


def _whole(size: Size) -> Size:
    """`size` cut to multiples of 8, as WebUI's, at least 8."""
    width, height = (max(side - side % MULTIPLE, MULTIPLE) for side in size)
    return width, height
