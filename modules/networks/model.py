"""A loaded model of any family: words, pictures and noise in, numbers out. It knows no sampler and no mask."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from modules.base.free_memory import free_memory
from modules.networks import tiled_vae
from modules.networks.families.family import PromptEncoder
from modules.networks.memo import Memo, fingerprint
from modules.networks.network import Network
from modules.networks.packing import PackedConv2d, weight_bytes
from modules.networks.preview import LatentColours
from modules.sampling.conditioning import Conditioning, TextOptions
from modules.sampling.latent import Latent
from modules.sampling.levels import Level, Levels, PredictionType
from modules.sampling.types import Box, DeepCache, Inputs, Window

log = logging.getLogger(__name__)

VAE_NUMBERS = 1200  # numbers a pixel that the autoencoder holds at once in one piece (measured)


class DiffusionModel:
    """Implements `sampling.types.SDModel`. Everything it hands out is float32 on `device`."""

    def __init__(self, name: str, network: Network, vae: nn.Module, text: PromptEncoder,
                 parts: Mapping[str, nn.Module], *,
                 latent: Latent, levels: Levels, prediction: PredictionType, inputs: Inputs, device: torch.device,
                 dtype: torch.dtype, tiled_vae: str = "auto") -> None:
        """`text` encodes prompts. `parts` are all networks by name; extensions and patches find them there.

        `tiled_vae`: "on" encodes and decodes in strips, "off" in one piece, "auto" as free memory allows.
        """
        self.name = name
        self.network = network
        self.vae = vae
        self.text = text
        self.parts = parts
        self.latent, self.levels, self.prediction, self.inputs = latent, levels, prediction, inputs
        self.device = device
        self.dtype = dtype
        self.tiled_vae = tiled_vae
        self._tiling = False
        self._contexts: Memo[Conditioning] = Memo()
        self._latents: Memo[Tensor] = Memo()
        self._colours: LatentColours | None = None
        self._vae_in_use = threading.RLock()  # by the job, or by whoever watches it and is the first to see a preview

    @property
    def unet(self) -> nn.Module:
        """The denoiser, packed where that is faster."""
        return self.network.unet

    @property
    def part_bytes(self) -> dict[int, int]:
        """Bytes that the weights of each part take, packed or not. Models that share a part have its number too."""
        return {id(module): weight_bytes(module) for module in self.parts.values()}

    def encode_prompts(self, texts: Sequence[str], how: TextOptions) -> list[Conditioning]:
        """Words to conditioning: the texts of one prompt's schedule together.

        Not the same as one after the other: emphasis "Original" restores the mean over all of them, as WebUI does.
        """
        return self._contexts.get((*texts, how), lambda: self.text.encode(texts, how)).rows()

    @torch.no_grad()
    def predict(self, x: Tensor, level: Level, cond: Conditioning) -> Tensor:
        """The network's answer, see `prediction`. x (B, C, h, w) with the channels of `inputs` behind it, cond of B
        rows -> (B, latent channels, h, w)."""
        return self.network(x, level, cond)

    def compiles(self, size: tuple[int, int]) -> bool:
        """True if `predict` compiles a program first for a latent of `size` (width, height), which takes minutes."""
        return self.network.compiles(size)

    def clear_caches(self) -> None:
        """Lets go of the conditionings, latents and preview colours that it keeps: a text encoder or the autoencoder
        changes."""
        self._contexts.clear()
        self._latents.clear()
        with self._vae_in_use:
            self._colours = None

    def window(self, box: Box, size: tuple[int, int]) -> Window | None:
        """The denoiser on a part of a latent of `size` (width, height); None where that cannot be."""
        return self.network.window(box, size)

    def deep_cache(self) -> DeepCache | None:
        """The denoiser's deep features, for the steps of one run; None where it has none."""
        return self.network.deep_cache()

    @torch.no_grad()
    def encode_image(self, image: Tensor) -> Tensor:
        """image (B, 3, 8h, 8w) in [-1, 1] -> latent (B, 4, h, w) of about unit variance.

        The posterior's mean, not a draw from it: WebUI draws from an unseeded generator, so its pictures differ by
        that noise (a standard deviation near 1e-4) from run to run, and a picture should follow from its seed.
        """
        # Contiguous: with another memory order, flat grey pictures give visibly other latents.
        images = torch.split(image.to(self.device).contiguous(), 1)
        with self._vae_in_use:
            return self.latent.scaled(torch.cat([self._encode_once(one) for one in images]))

    @torch.no_grad()
    def decode_latent(self, latent: Tensor) -> Tensor:
        """latent (B, 4, h, w) -> image (B, 3, 8h, 8w), about [-1, 1], not clamped.

        One image at a time, for memory. A half-precision autoencoder that overflows goes on in float32.
        """
        with self._vae_in_use:
            return torch.cat([self._decode(one) for one in torch.split(latent.to(self.device), 1)])

    def set_tiling(self, on: bool) -> None:
        """Convolutions that wrap round the edges, so that pictures tile (WebUI: `apply_circular`), or plain ones."""
        self._tiling = on
        for module in (*self.unet.modules(), *self.vae.modules()):
            if isinstance(module, (nn.Conv2d, PackedConv2d)):
                module.padding_mode = "circular" if on else "zeros"

    def preview(self, latent: Tensor) -> Tensor:
        """A cheap picture of one latent: (4, h, w) -> (3, h, w) in [0, 1]. The first call fits the colours."""
        return (self._colours or self._fit_colours()).paint(latent)

    def _fit_colours(self) -> LatentColours:
        with self._vae_in_use:
            self._colours = self._colours or LatentColours.fit(self.encode_image, self.latent.cell)
            return self._colours

    def _encode_once(self, image: Tensor) -> Tensor:
        return self._latents.get((fingerprint(image), self._tiling, self._vae_dtype), lambda: self._encode(image))

    def _encode(self, image: Tensor) -> Tensor:
        pixels = image.to(self._vae_dtype)
        if self._needs_strips(pixels.shape[2] * pixels.shape[3]):
            mean = tiled_vae.encode(self.vae, pixels).float()
        else:
            mean = cast(Tensor, cast(Any, self.vae).encode(pixels).latent_dist.mean).float()
        return self._encode(image) if self._overflowed(mean) else mean

    def _decode(self, latent: Tensor) -> Tensor:
        scaled = self.latent.unscaled(latent.float()).to(self._vae_dtype)
        if self._needs_strips(scaled.shape[2] * scaled.shape[3] * self.latent.cell**2):
            image = tiled_vae.decode(self.vae, scaled).float()
        else:
            image = cast(Tensor, cast(Any, self.vae).decode(scaled, return_dict=False)[0]).float()
        return self._decode(latent) if bool(latent.isfinite().all()) and self._overflowed(image) else image

    def _needs_strips(self, pixels: int) -> bool:
        if self.tiled_vae != "auto":
            return self.tiled_vae == "on"
        return pixels * VAE_NUMBERS * self._vae_dtype.itemsize > free_memory(str(self.device)) * 0.8

    @property
    def _vae_dtype(self) -> torch.dtype:
        """What the autoencoder computes in: `dtype`, or float32 once half precision has overflowed."""
        return next(self.vae.parameters()).dtype

    def _overflowed(self, result: Tensor) -> bool:
        """True once: the half-precision autoencoder gave NaN and has been widened to float32; try again."""
        dtype = self._vae_dtype
        if dtype == torch.float32 or not bool(torch.isnan(result).any()):
            return False
        log.info("%s: its autoencoder overflows in half precision and computes in float32 from now on.", self.name)
        try:
            self.vae.float()
        except Exception:  # no memory for it
            self.vae.to(dtype)
            raise
        return True
