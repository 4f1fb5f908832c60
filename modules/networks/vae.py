"""The autoencoder: pictures to latents and back, one at a time, in strips where memory is short, and its previews."""

from __future__ import annotations

import logging
import threading
from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from modules.base.free_memory import free_memory
from modules.base.stopping import may_go_on
from modules.networks import tiled_vae
from modules.networks.memo import Memo, fingerprint
from modules.networks.preview import LatentColours
from modules.networks.shapes import VaeShape
from modules.networks.tiling import wraps
from modules.networks.turns import Turn
from modules.sampling.latent import Latent

log = logging.getLogger(__name__)

NUMBERS = 1200  # numbers a pixel that it holds at once when a picture passes through it in one piece (measured)


def _may_go_on(*_: object) -> None:
    """A long pass obeys Interrupt between its layers."""
    may_go_on()


def build_vae(shape: VaeShape) -> nn.Module:
    """The network without weights; call it under `torch.device("meta")`."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    levels = len(shape.channels)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=shape.channels,
        layers_per_block=shape.blocks,
        latent_channels=shape.latent_channels,
        norm_num_groups=shape.norm_groups,
        use_quant_conv=shape.quant,
        use_post_quant_conv=shape.quant,
    )
    for layer in vae.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_pre_hook(_may_go_on)
    return cast(nn.Module, vae)


class Autoencoder:
    """`module` on `device`. It computes in the precision of its weights and answers in float32. For any thread.

    If it overflows in half precision, its weights become float32 for good, and the log says so: what overflowed once
    would overflow again at the next picture.
    """

    def __init__(self, module: nn.Module, form: Latent, device: torch.device, tiled: str = "auto",
                 turn: Turn = nullcontext) -> None:
        """`form` is what its latents are. `tiled`: "on" encodes and decodes in strips, "off" in one piece, "auto" as
        free memory allows. It computes in a `turn` of `module`."""
        self.module = module
        self.form = form
        self.device = device
        self.tiled = tiled
        self._turn = turn
        self._latents: Memo[Tensor] = Memo()
        self._colours: LatentColours | None = None
        self._in_use = threading.RLock()  # by the job, or by whoever watches it and is the first to see a preview

    @property
    def dtype(self) -> torch.dtype:
        """The precision that it computes in."""
        return next(self.module.parameters()).dtype

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        """image (B, 3, H, W) in [-1, 1] -> latent (B, C, h, w) of about unit variance.

        The posterior's mean, not a draw from it: WebUI draws from an unseeded generator, so its pictures differ by
        that noise (a standard deviation near 1e-4) from run to run, and a picture should follow from its seed.
        """
        # Contiguous: with another memory order, flat grey pictures give visibly other latents.
        images = torch.split(image.to(self.device).contiguous(), 1)
        with self._in_use:
            return self.form.scaled(torch.cat([self._encode_once(one) for one in images]))

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """latent (B, C, h, w) of about unit variance -> image (B, 3, H, W), about [-1, 1], not clamped."""
        with self._in_use, self._turn():
            return torch.cat([self._decode(one) for one in torch.split(latent.to(self.device), 1)])

    def preview(self, latent: Tensor) -> Tensor:
        """A cheap picture of one latent: (C, h, w) -> (3, h, w) in [0, 1]. The first call fits the colours."""
        return (self._colours or self._fit_colours()).paint(latent)

    def clear_caches(self) -> None:
        """Drop the latents and the preview's colours that it keeps, because the module changes."""
        self._latents.clear()
        with self._in_use:
            self._colours = None

    def _fit_colours(self) -> LatentColours:
        with self._in_use:
            self._colours = self._colours or LatentColours.fit(self.encode, self.form.cell)
            return self._colours

    def _encode_once(self, image: Tensor) -> Tensor:
        key = fingerprint(image), wraps(self.module), self.dtype
        return self._latents.get(key, lambda: self._in_turn(image))

    def _in_turn(self, image: Tensor) -> Tensor:
        with self._turn():
            return self._encode(image)

    def _encode(self, image: Tensor) -> Tensor:
        pixels = image.to(self.dtype)
        if self._needs_strips(pixels.shape[2] * pixels.shape[3]):
            mean = tiled_vae.encode(self.module, pixels).float()
        else:
            mean = cast(Tensor, cast(Any, self.module).encode(pixels).latent_dist.mean).float()
        return self._encode(image) if self._overflowed(mean) else mean

    def _decode(self, latent: Tensor) -> Tensor:
        scaled = self.form.unscaled(latent.float()).to(self.dtype)
        if self._needs_strips(scaled.shape[2] * scaled.shape[3] * self.form.cell**2):
            image = tiled_vae.decode(self.module, scaled).float()
        else:
            image = cast(Tensor, cast(Any, self.module).decode(scaled, return_dict=False)[0]).float()
        return self._decode(latent) if bool(latent.isfinite().all()) and self._overflowed(image) else image

    def _needs_strips(self, pixels: int) -> bool:
        if self.tiled != "auto":
            return self.tiled == "on"
        return pixels * NUMBERS * self.dtype.itemsize > free_memory(str(self.device)) * 0.8

    def _overflowed(self, result: Tensor) -> bool:
        """True if half precision gave NaN; the weights have been widened to float32, so try again."""
        dtype = self.dtype
        if dtype == torch.float32 or not bool(torch.isnan(result).any()):
            return False
        try:
            self.module.float()
        except Exception:  # no memory for it
            self.module.to(dtype)
            raise
        log.warning("The autoencoder overflowed in %s and computes in float32 from now on.", dtype)
        return True
