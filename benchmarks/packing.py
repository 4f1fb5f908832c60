"""The UNet with packed convolutions against the same UNet with plain ones.

CPU time of the calling thread is counted when there is one thread, so that other programs on the machine disturb less;
with more threads it is time on the clock.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.checkpoints import checkpoint
from benchmarks.timing import Row, interleaved, medians
from modules.weights import packing
from modules.weights.catalog import CheckpointFile
from modules.weights.loader import load_model

TARGETS = {256: 0.68, 512: 0.88}


def run(cache: Path, *, size: int, rounds: int) -> list[Row]:
    """One network call of Stable Diffusion 1.5's size with cond and uncond together, as in a step."""
    path = checkpoint("sd15", cache)
    model = load_model(CheckpointFile(path, path.name), device=torch.device("cpu"), dtype=torch.float32)
    packed = model.unet
    plain = copy.deepcopy(packed)
    packing.unpack(plain)
    packing.pack(packed)
    x, t, words = torch.randn(2, 4, size // 8, size // 8), torch.tensor([500, 500]), torch.randn(2, 77, 768)
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter

    def call(unet: torch.nn.Module) -> Callable[[], list[float]]:
        @torch.no_grad()
        def once() -> list[float]:
            began = clock()
            unet(x, t, words, return_dict=False)
            return [clock() - began]

        return once

    runs = {"packed": call(packed), "plain": call(plain)}
    first = interleaved(runs, 1)["packed"][0]  # a new size packs, so the first call is another matter
    found = medians(interleaved(runs, rounds))
    return [Row(f"UNet call, sd15 {size} x {size}, packed", found["packed"], found["plain"], "plain convolutions", "s",
                TARGETS.get(size)),
            Row(f"First UNet call at a size, sd15 {size} x {size}", first, found["plain"], "plain convolutions", "s")]
