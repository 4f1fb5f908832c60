"""The one call of the UNet. Whatever makes it cheaper is a context manager around this call."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from modules.networks.deepcache import UNetDeepCache
from modules.networks.families.family import Ask
from modules.networks.forwards import is_patched
from modules.networks.tiling import wraps
from modules.networks.turns import Turn
from modules.networks.window import UNetWindow
from modules.sampling.conditioning import Conditioning, Residuals
from modules.sampling.levels import Level
from modules.sampling.types import Box


class Program(Protocol):
    """A UNet in another form, which is faster. It is called as the UNet."""

    def ready(self, residuals: Residuals | None) -> bool:
        """Whether the next call, with these residuals, can be the program's. No layer is patched."""

    def rest(self) -> None:
        """The UNet itself is run next."""

    def compiles(self, size: tuple[int, int]) -> bool:
        """Whether the first call for a latent of `size` (width, height) takes minutes."""

    @property
    def nbytes(self) -> int:
        """Bytes of the weights that it holds beside the UNet's, as far as they are known."""

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor]:
        """x (B, C, h, w) and the rest as the UNet takes them -> (the answer (B, latent channels, h, w),)."""


class Network:
    """A denoiser that computes on `device` in `dtype` and answers in float32. Implements `sampling.types.Predict`."""

    def __init__(self, unet: nn.Module, ask: Ask, device: torch.device, dtype: torch.dtype,
                 program: Program | None = None, turn: Turn = nullcontext) -> None:
        """`unet` may be another kind of network; `ask` calls it. `program` is it in a faster form, if it is to run so.
        Each call is in a `turn` of it."""
        self.unet = unet
        self._ask, self._turn = ask, turn
        self.program = program
        self.device, self.dtype = device, dtype
        self._levels = len(getattr(unet, "down_blocks", ()))  # 0 for a network that is no UNet

    def __call__(self, x: Tensor, level: Level, cond: Conditioning) -> Tensor:
        """x (B, C, h, w) at `level`, cond of B rows -> the answer (B, latent channels, h, w).

        A program holds the layers' own computation. While a layer is patched, by a window, a deep cache, a network or
        an extension, the UNet itself is run.
        """
        x = x.to(self.device, self.dtype)
        t = torch.full((len(x),), level.t, dtype=torch.float32, device=self.device)
        program = self._program(cond.residuals)
        with self._turn():
            return self._ask(program or self.unet, x, t, cond.to(self.device, self.dtype)).float()

    def answers(self, x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        """x (B, C, h, w), each row at its own t (B,), cond of B rows -> the answer (B, latent channels, h, w), through
        which can be trained."""
        return self._ask(self.unet, x, t, cond.to(self.device, self.dtype))

    def compiles(self, size: tuple[int, int]) -> bool:
        """True if the first call for a latent of `size` (width, height) compiles a program, which takes minutes."""
        return self.program is not None and self.program.compiles(size) and not self._patched()

    def _program(self, residuals: Residuals | None) -> Program | None:
        """The program, if there is one that can make the next call."""
        if self.program is None:
            return None
        if not self._patched() and self.program.ready(residuals):
            return self.program
        self.program.rest()
        return None

    def _patched(self) -> bool:
        return any(map(is_patched, self.unet.modules()))

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
