"""python -m benchmarks cpp: a step against stable-diffusion.cpp, where its Python package is installed.

    pip install stable-diffusion-cpp-python

Both do what a step needs at guidance 7: the network with and without the prompt. Theirs is the time between two of its
reports of progress, ours the UNet call with both in one batch (the rest of our step is below 2 ms, see steps).
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.checkpoints import checkpoint
from benchmarks.small_masks import load
from benchmarks.timing import Row, interleaved, medians
from modules.sampling.conditioning import Conditioning
from modules.sampling.levels import stable_diffusion

STEPS = 4


def run(cache: Path, *, size: int, rounds: int) -> list[Row]:
    """One row, or none where the package is not installed."""
    if not importlib.util.find_spec("stable_diffusion_cpp"):
        print("stable_diffusion_cpp is not installed")
        return []
    from stable_diffusion_cpp import StableDiffusion

    theirs: Any = StableDiffusion(model_path=str(checkpoint("sd15", cache)), n_threads=torch.get_num_threads(),
                                  verbose=False)
    model = load("sd15", cache)
    x, level = torch.randn(2, 4, size // 8, size // 8), stable_diffusion().at_t(500)
    words = Conditioning(torch.randn(2, 77, 768))

    def our_calls() -> list[float]:
        began = time.perf_counter()
        model.predict(x, level, words)
        return [time.perf_counter() - began]

    def their_steps() -> list[float]:
        ends: list[float] = []
        with contextlib.redirect_stdout(None):
            theirs.generate_image("a lighthouse", negative_prompt="fog", width=size, height=size, cfg_scale=7.0,
                                  sample_steps=STEPS, sample_method="euler", seed=1,
                                  progress_callback=lambda *_: ends.append(time.perf_counter()))
        return [after - before for before, after in itertools.pairwise(ends[:STEPS])]

    our_calls()  # packs
    found = medians(interleaved({"ours": our_calls, "theirs": their_steps}, rounds))
    return [Row(f"UNet of a step, sd15 {size} x {size}", found["ours"], found["theirs"], "stable-diffusion.cpp", "s")]
