"""The UNet as compiled programs, on request (`--compile`).

TorchInductor joins operations, lays out weights for the processor at hand, and on CUDA records each step as one graph
that is started as a whole. A program fits one size of picture, prompt and batch; making it takes minutes on a CPU.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

PROGRAMS = 64
"""Sizes that are compiled for; after those the network runs as it is."""

CONFIG: dict[str, dict[str, Any]] = {"cpu": {"freezing": True}, "cuda": {"triton.cudagraphs": True}}
"""TorchInductor's, by device. `freezing` has no effect as an option of `torch.compile`: TorchDynamo asks for it too."""


class CompiledUNet:
    """`unet` in compiled form, of the same weights. Calling `unet` itself runs it as it is, for parts of a picture.

    On the CPU the programs hold the weights once more, in their own order. Where nothing can be compiled, for want of a
    compiler, the network runs as it is and the log says why.
    """

    def __init__(self, unet: nn.Module, device: torch.device, folder: Path, backend: Any = "inductor") -> None:
        """`folder`: where what was compiled is kept for the next start."""
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
        dynamo = cast(Any, torch)._dynamo.config
        dynamo.recompile_limit = PROGRAMS
        dynamo.suppress_errors = True
        self._config = CONFIG.get(device.type, {})
        self._run = torch.compile(unet, dynamic=False, backend=backend)
        self.sizes: set[tuple[int, ...]] = set()
        """Of latents that it was called for, (height, width)."""

    def __call__(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """x (B, C, h, w), t (B,), context (B, tokens, C) -> eps (B, 4, h, w), float32."""
        self.sizes.add(tuple(x.shape[2:]))
        cast(Any, torch.compiler).cudagraph_mark_step_begin()
        with cast(Any, torch)._inductor.config.patch(self._config):
            eps = self._run(x, t, context, return_dict=False)[0]
        return cast(Tensor, eps).to(torch.float32, copy=True)  # the next call may write where this one did
