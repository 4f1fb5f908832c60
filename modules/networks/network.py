"""The one call of the UNet. Whatever makes it cheaper is a context manager around this call."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from modules.networks.compiled import CompiledUNet
from modules.networks.deepcache import UNetDeepCache
from modules.networks.forwards import is_patched
from modules.networks.window import UNetWindow
from modules.sampling.types import Box


class Network:
    """A UNet that computes on `device` in `dtype` and answers in float32. Implements `sampling.types.Predict`."""

    def __init__(self, unet: nn.Module, device: torch.device, dtype: torch.dtype,
                 compiled: CompiledUNet | None = None) -> None:
        """`compiled` is `unet` as compiled programs, if it is to run as such."""
        self.unet = unet
        self.compiled = compiled
        self.device, self.dtype = device, dtype
        self.in_channels = int(cast(nn.Conv2d, unet.get_submodule("conv_in")).in_channels)
        self.levels = len(cast(nn.ModuleList, unet.get_submodule("down_blocks")))

    def __call__(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """x (B, in_channels, h, w), t (B,) in 0..999, context (B, tokens, C) -> eps (B, 4, h, w).

        Compiled programs hold the layers' own computation. While a layer is patched, by a window, a deep cache or an
        extension, the UNet itself is run.
        """
        x, t, context = x.to(self.device, self.dtype), t.to(self.device), context.to(self.device, self.dtype)
        compiled = self.compiled if self.compiled and not any(map(is_patched, self.unet.modules())) else None
        return cast(Tensor, (compiled or self.unet)(x, t, context, return_dict=False)[0]).float()

    def compiles(self, size: tuple[int, int]) -> bool:
        """True if the first call for a latent of `size` (width, height) compiles a program, which takes minutes."""
        return self.compiled is not None and size[::-1] not in self.compiled.sizes

    def window(self, box: Box, size: tuple[int, int]) -> UNetWindow | None:
        """The window that holds the cells `box` of a latent of `size` (width, height).

        None if the picture wraps round at its edges, or if the deepest level's cells do not divide `size`.
        """
        cell = 2 ** (self.levels - 1)
        if size[0] % cell or size[1] % cell or self._wraps():
            return None
        return UNetWindow(self.unet, box, size)

    def deep_cache(self) -> UNetDeepCache | None:
        """The deep features for the steps of one run; None for a UNet of one level."""
        return UNetDeepCache(self.unet, self) if self.levels > 1 else None

    def _wraps(self) -> bool:
        """True if a convolution pads with something else than zeros."""
        return any(getattr(layer, "padding_mode", "zeros") != "zeros" for layer in self.unet.modules())
