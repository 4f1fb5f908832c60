"""The one call of the UNet. Whatever makes it cheaper is a context manager around this call."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from modules.networks.compiled import CompiledUNet
from modules.networks.deepcache import UNetDeepCache
from modules.networks.families.family import Ask
from modules.networks.forwards import is_patched
from modules.networks.patches.patched import is_swapped
from modules.networks.tiling import wraps
from modules.networks.turns import Turn
from modules.networks.window import UNetWindow
from modules.sampling.conditioning import Conditioning
from modules.sampling.levels import Level
from modules.sampling.types import Box


class Network:
    """A denoiser that computes on `device` in `dtype` and answers in float32. Implements `sampling.types.Predict`."""

    def __init__(self, unet: nn.Module, ask: Ask, device: torch.device, dtype: torch.dtype,
                 compiled: CompiledUNet | None = None, turn: Turn = nullcontext) -> None:
        """`unet` may be another kind of network; `ask` calls it. `compiled` is it as compiled programs, if it is to run
        as such. Each call is in a `turn` of it."""
        self.unet = unet
        self._ask, self._turn = ask, turn
        self.compiled = compiled
        self.device, self.dtype = device, dtype
        self._levels = len(getattr(unet, "down_blocks", ()))  # 0 for a network that is no UNet

    def __call__(self, x: Tensor, level: Level, cond: Conditioning) -> Tensor:
        """x (B, C, h, w) at `level`, cond of B rows -> the answer (B, latent channels, h, w).

        Compiled programs hold the layers' own computation and weights. While a layer is patched, by a window, a deep
        cache, a network or an extension, the UNet itself is run; so it is with residuals.
        """
        x = x.to(self.device, self.dtype)
        t = torch.full((len(x),), level.t, dtype=torch.float32, device=self.device)
        program = None if cond.residuals else self._program()
        with self._turn():
            return self._ask(program or self.unet, x, t, cond.to(self.device, self.dtype)).float()

    def compiles(self, size: tuple[int, int]) -> bool:
        """True if the first call for a latent of `size` (width, height) compiles a program, which takes minutes."""
        program = self._program()
        return program is not None and size[::-1] not in program.sizes

    def _program(self) -> CompiledUNet | None:
        """The compiled UNet, if there is one and no layer is patched."""
        patched = self.compiled is None or is_swapped(self.unet) or any(map(is_patched, self.unet.modules()))
        return None if patched else self.compiled

    def window(self, box: Box, size: tuple[int, int]) -> UNetWindow | None:
        """The window that holds the cells `box` of a latent of `size` (width, height).

        None if the network is no UNet, if the picture wraps round at its edges, or if the deepest level's cells do not
        divide `size`.
        """
        cell = 2 ** (self._levels - 1)
        if not self._levels or size[0] % cell or size[1] % cell or wraps(self.unet):
            return None
        return UNetWindow(self.unet, box, size)

    def deep_cache(self) -> UNetDeepCache | None:
        """The deep features for the steps of one run; None for a UNet of one level."""
        return UNetDeepCache(self.unet, self) if self._levels > 1 else None
