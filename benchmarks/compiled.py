"""python -m benchmarks compiled: what `--compile` (modules/networks/compiled.py) saves at a step, and what it takes.

The same network call, compiled and as it runs without the flag (on the CPU: packed), for the embedded checkpoint and at
Stable Diffusion 1.5's size; in half precision on a GPU.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.checkpoints import checkpoint
from benchmarks.timing import Row, interleaved, medians
from modules.engine.models import best_device
from modules.networks.loader import load_model
from modules.networks.model import DiffusionModel
from modules.sampling.conditioning import Conditioning, TextOptions
from modules.sampling.levels import stable_diffusion
from modules.weights.catalog import CheckpointFile


def run(cache: Path, *, size: int, calls: int, rounds: int) -> list[Row]:
    """Rows for the embedded checkpoint at 128 x 128 pixels, and for 1.5's size at `size` x `size`."""
    return [*compare("default", cache, 128, 5 * calls, rounds), *compare("sd15", cache, size, calls, rounds)]


def compare(name: str, cache: Path, size: int, calls: int, rounds: int) -> list[Row]:
    """A step's network call, and the first one, which compiles."""
    path = checkpoint(name, cache)
    device = torch.device(best_device())
    dtype = torch.float32 if device.type == "cpu" else torch.float16
    with tempfile.TemporaryDirectory() as programs:
        def load(**more: Any) -> DiffusionModel:
            return load_model(CheckpointFile(path, path.name), device=device, dtype=dtype, **more)

        models = {"compiled": load(compile_in=Path(programs)), "plain": load()}
        channels = models["plain"].encode_prompts([""], TextOptions())[0].tokens.shape[-1]
        asked = (torch.randn(2, 4, size // 8, size // 8), stable_diffusion().at_t(500),
                 Conditioning(torch.randn(2, 77, channels)))

        def timed(model: DiffusionModel) -> list[float]:
            seconds = []
            for _ in range(calls):
                began = time.perf_counter()
                model.predict(*asked).cpu()  # which waits for the device
                seconds.append(time.perf_counter() - began)
            return seconds

        (first, *_), _ = timed(models["compiled"]), timed(models["plain"])
        found = medians(interleaved({kind: lambda model=model: timed(model) for kind, model in models.items()}, rounds))
    what = f"{name} {size} x {size}"
    return [Row(f"UNet of a step, compiled, {what}", found["compiled"], found["plain"], "as it is", "s"),
            Row(f"The first step, which compiles, {what}", first, found["plain"], "a step as it is", "s")]
