"""A loaded Stable Diffusion 1.x model: words, pictures and noise in, numbers out. It knows no sampler and no mask."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from modules.base.free_memory import free_memory
from modules.networks import tiled_vae
from modules.networks.compiled import CompiledUNet
from modules.networks.memo import Memo, fingerprint
from modules.networks.network import Network
from modules.networks.packing import PackedConv2d, weight_bytes
from modules.networks.preview import LatentColours
from modules.networks.text.clip import TextEncoder
from modules.sampling.levels import EPSILON, Levels, stable_diffusion
from modules.sampling.types import Box, DeepCache, Window

LATENT_SCALE = 0.18215  # brings the autoencoder's latents to about unit variance (Rombach et al. 2022, appendix G)
VAE_NUMBERS = 1200  # numbers a pixel that the autoencoder holds at once in one piece (measured)


class StableDiffusion:
    """Implements `sampling.types.SDModel`. Everything it hands out is float32 on `device`."""

    def __init__(
        self, name: str, unet: nn.Module, vae: nn.Module, text: TextEncoder, device: torch.device, dtype: torch.dtype,
        tiled_vae: str = "auto", compiled: CompiledUNet | None = None,
    ) -> None:
        """`tiled_vae`: "on" encodes and decodes in strips, "off" in one piece, "auto" as free memory allows. `compiled`
        is the UNet as `predict` asks it, where that is not the UNet itself.
        """
        self.name = name
        self.network = Network(unet, device, dtype, compiled)
        self.vae = vae
        self.text = text
        self.device = device
        self.dtype = dtype
        self.tiled_vae = tiled_vae
        self.levels: Levels = stable_diffusion()
        self.prediction = EPSILON
        self._vae_dtype = dtype
        self._tiling = False
        self._contexts, self._latents = Memo(), Memo()
        self._colours: LatentColours | None = None
        self._vae_in_use = threading.RLock()  # by the job, or by whoever watches it and is the first to see a preview

    @property
    def unet(self) -> nn.Module:
        """The network that predicts the noise, packed where that is faster."""
        return self.network.unet

    @property
    def in_channels(self) -> int:
        """Channels that the UNet reads."""
        return self.network.in_channels

    @property
    def nbytes(self) -> int:
        """Bytes that its weights take, packed or not."""
        return sum(weight_bytes(module) for module in (self.unet, self.vae, self.text.clip))

    def encode_prompts(self, texts: Sequence[str], *, clip_skip: int, emphasis: str, comma_backtrack: int) -> Tensor:
        """Words to context: the texts of one prompt's schedule together, shape (texts, 77 * chunks, channels).

        Not the same as one after the other: emphasis "Original" restores the mean over all of them, as WebUI does.
        """
        return self._contexts.get((*texts, clip_skip, emphasis, comma_backtrack), lambda: self.text.encode(
            texts, clip_skip=clip_skip, emphasis=emphasis, comma_backtrack=comma_backtrack))

    @torch.no_grad()
    def predict(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """The noise in x. x (B, in_channels, h, w), t (B,) in 0..999, context (B, tokens, channels) -> (B, 4, h, w)."""
        return self.network(x, t, context)

    def compiles(self, size: tuple[int, int]) -> bool:
        """True if `predict` compiles a program first for a latent of `size` (width, height), which takes minutes."""
        return self.network.compiles(size)

    def clear_caches(self) -> None:
        """Lets go of the contexts, latents and preview colours that it keeps: text encoder or autoencoder change."""
        self._contexts.clear()
        self._latents.clear()
        with self._vae_in_use:
            self._colours = None

    def window(self, box: Box, size: tuple[int, int]) -> Window | None:
        """The UNet on a part of a latent of `size` (width, height); None for pictures that tile, and for sizes that the
        deepest level does not divide."""
        return self.network.window(box, size)

    def deep_cache(self) -> DeepCache | None:
        """The UNet's deep features, for the steps of one run."""
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
            return torch.cat([self._encode_once(one) for one in images]) * LATENT_SCALE

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
            self._colours = self._colours or LatentColours.fit(self.encode_image)
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
        # Multiplied by the rounded inverse, not divided, as WebUI does; it decides about single grey levels.
        scaled = ((1.0 / LATENT_SCALE) * latent.float()).to(self._vae_dtype)
        if self._needs_strips(scaled.shape[2] * scaled.shape[3] * 64):
            image = tiled_vae.decode(self.vae, scaled).float()
        else:
            image = cast(Tensor, cast(Any, self.vae).decode(scaled, return_dict=False)[0]).float()
        return self._decode(latent) if bool(latent.isfinite().all()) and self._overflowed(image) else image

    def _needs_strips(self, pixels: int) -> bool:
        if self.tiled_vae != "auto":
            return self.tiled_vae == "on"
        return pixels * VAE_NUMBERS * self._vae_dtype.itemsize > free_memory(str(self.device)) * 0.8

    def _overflowed(self, result: Tensor) -> bool:
        """True once: the half-precision autoencoder gave NaN and has been widened to float32; try again."""
        if self._vae_dtype == torch.float32 or not bool(torch.isnan(result).any()):
            return False
        try:
            self.vae.float()
        except Exception:  # no memory for it
            self.vae.to(self._vae_dtype)
            raise
        self._vae_dtype = torch.float32
        return True
