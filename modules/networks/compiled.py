"""The UNet as compiled programs, on request (`--compile`).

TorchInductor fuses operations, lays out weights for the processor at hand, and on CUDA records each step as one graph
that is launched as a whole. A program fits one size of picture, prompt and batch. Compiling takes minutes on a CPU.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from modules.networks.patches.patched import is_swapped
from modules.sampling.conditioning import Residuals

PROGRAMS = 64
"""The most sizes that are compiled for; at further sizes the network runs as it is."""

CONFIG: dict[str, dict[str, Any]] = {"cpu": {"freezing": True}, "cuda": {"triton.cudagraphs": True}}
"""TorchInductor's configuration by device. `freezing` is set here because TorchDynamo reads it too, which it does not
when it is an option of `torch.compile`."""


class CompiledUNet:
    """`unet` in compiled form, with the same weights and the same arguments.

    On the CPU the programs hold the weights once more, in their own order. If nothing can be compiled because there is
    no compiler, the network runs as it is and the log says why.
    """

    def __init__(self, unet: nn.Module, device: torch.device, folder: Path, backend: Any = "inductor") -> None:
        """`folder`: where compiled programs are kept for the next start."""
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
        dynamo = cast(Any, torch)._dynamo.config
        dynamo.recompile_limit = PROGRAMS
        dynamo.suppress_errors = True
        self._unet = unet
        self._config = CONFIG.get(device.type, {})
        self._run = torch.compile(unet, dynamic=False, backend=backend)
        self.sizes: set[tuple[int, ...]] = set()
        """Sizes (height, width) of the latents that it was called for."""
        self.nbytes = 0  # nobody tells what the programs hold

    def ready(self, residuals: Residuals | None) -> bool:
        """Whether the programs can make the next call: not with residuals, nor with other weights than they hold."""
        return not residuals and not is_swapped(self._unet)

    def rest(self) -> None:
        """Nothing: the programs stay."""

    def compiles(self, size: tuple[int, int]) -> bool:
        """Whether the first call for a latent of `size` (width, height) takes minutes."""
        return size[::-1] not in self.sizes and not is_swapped(self._unet)

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor]:
        """x (B, C, h, w) and the rest as `unet` takes them with `return_dict=False` -> (eps (B, 4, h, w),)."""
        self.sizes.add(tuple(x.shape[2:]))
        cast(Any, torch.compiler).cudagraph_mark_step_begin()
        with cast(Any, torch)._inductor.config.patch(self._config):
            (eps,) = self._run(x, *args, **kwargs)
        return (cast(Tensor, eps).clone(),)  # the next call may write where this one did
