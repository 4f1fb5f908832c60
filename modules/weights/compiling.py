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

OPTIONS: dict[str, Any] = {"cpu": {"freezing": True}, "cuda": {"triton.cudagraphs": True}}
"""TorchInductor's, by device."""


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
        options = OPTIONS.get(device.type) if backend == "inductor" else None
        self._run = torch.compile(unet, dynamic=False, backend=backend, options=options)
        self.sizes: set[tuple[int, ...]] = set()
        """Of latents that it was called for, (height, width)."""

    def __call__(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """x (B, C, h, w), t (B,), context (B, tokens, C) -> eps (B, 4, h, w), float32."""
        self.sizes.add(tuple(x.shape[2:]))
        cast(Any, torch.compiler).cudagraph_mark_step_begin()
        eps = self._run(x, t, context, return_dict=False)[0]
        return cast(Tensor, eps).to(torch.float32, copy=True)  # the next call may write where this one did
