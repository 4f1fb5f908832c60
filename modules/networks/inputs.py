"""What a UNet reads beside x: nothing, what an inpainting checkpoint is shown of a picture, a picture to edit, or how
far away things are in it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from modules.sampling.types import SDModel


@dataclass(frozen=True)
class Plain:
    """Nothing."""

    name: str = "plain"
    channels: int = 0
    needs_picture: bool = False
    noted_in_txt2img: bool = False

    def beside(self, model: SDModel, pixels: Tensor, hole: Tensor, weight: float,
               depth: Tensor | None = None) -> Tensor | None:
        """None."""
        return None


@dataclass(frozen=True)
class Inpaint:
    """Five channels: the mask, and the picture encoded with its hole greyed (Rombach et al. 2022, section 4.5).

    `noted_in_txt2img`: the parameters text of txt2img has the mask weight, as WebUI's has except with XL.
    """

    name: str = "inpaint"
    channels: int = 5
    needs_picture: bool = False
    noted_in_txt2img: bool = True

    def beside(self, model: SDModel, pixels: Tensor, hole: Tensor, weight: float,
               depth: Tensor | None = None) -> Tensor:
        """pixels (B, 3, H, W) in [-1, 1], hole (1, 1, H, W) in [0, 1] -> (B, 5, h, w). `weight`, 0 to 1, says how far
        the hole is greyed (WebUI's inpainting conditioning mask strength)."""
        masked = torch.lerp(pixels, pixels * (1 - hole), weight)
        latent = torch.cat([model.encode_image(picture[None].to(model.device)) for picture in masked])
        small = F.interpolate(hole.to(latent.device), size=latent.shape[2:])
        return torch.cat([small.expand(len(latent), -1, -1, -1), latent], dim=1)


@dataclass(frozen=True)
class Edit:
    """Four channels: the picture that the prompt tells how to change (InstructPix2Pix, Brooks et al. 2023), encoded and
    not scaled."""

    name: str = "edit"
    channels: int = 4
    needs_picture: bool = True
    noted_in_txt2img: bool = False

    def beside(self, model: SDModel, pixels: Tensor, hole: Tensor, weight: float,
               depth: Tensor | None = None) -> Tensor:
        """pixels (B, 3, H, W) in [-1, 1] -> (B, 4, h, w). The mask's hole is not told."""
        return torch.cat([model.latent.unscaled(model.encode_image(one[None].to(model.device))) for one in pixels])


@dataclass(frozen=True)
class Depth:
    """One channel: how near things are in the picture, -1 far to 1 near (Stable Diffusion 2's depth checkpoint)."""

    name: str = "depth"
    channels: int = 1
    needs_picture: bool = True
    noted_in_txt2img: bool = False

    def beside(self, model: SDModel, pixels: Tensor, hole: Tensor, weight: float,
               depth: Tensor | None = None) -> Tensor:
        """pixels (B, 3, H, W) in [-1, 1] -> (B, 1, h, w). `depth` (1, 1, H, W) is used instead of what the depth
        network sees in the pixels."""
        maps = [model.depth_of(one[None]) if depth is None else depth for one in pixels]
        size = model.latent.cells((pixels.shape[3], pixels.shape[2]))[::-1]
        small = torch.cat([F.interpolate(one.to(model.device), size=size, mode="bicubic") for one in maps])
        far, near = small.min(), small.max()
        return 2 * (small - far) / (near - far) - 1 if near > far else torch.zeros_like(small)


PLAIN, INPAINT, EDIT, DEPTH = Plain(), Inpaint(), Edit(), Depth()
