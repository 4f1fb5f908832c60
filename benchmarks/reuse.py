"""python -m benchmarks reuse: what modules/networks/deepcache.py saves, and how near the picture stays.

The cost is that of one call in so many being whole and the others shallow, Stable Diffusion 1.5's size. The quality is
the PSNR over the whole picture against the one without cache: twelve that the embedded checkpoint draws.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import torch
from PIL import Image

from benchmarks.small_masks import SCENES, load, psnr
from benchmarks.timing import Row, interleaved, medians
from modules.engine.engine import resolve
from modules.generation import recipes
from modules.networks.model import DiffusionModel
from modules.request import Txt2Img
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.sampling.conditioning import Conditioning
from modules.sampling.levels import stable_diffusion

EVERY = (2, 3, 5)
SEEDS, SIZE = 12, 128


def run(cache: Path, *, size: int, rounds: int) -> list[Row]:
    """Cost at `size` x `size` pixels and quality, for one whole step of two, three and five."""
    seconds = passes(load("sd15", cache), size, rounds)
    rows = [Row(f"Step cache {every}, mean step, sd15 {size} x {size}",
                (seconds["whole"] + (every - 1) * seconds["shallow"]) / every, seconds["whole"], "every step whole",
                "s") for every in EVERY]
    model = load("default", cache)
    whole = [draw(model, seed, 1) for seed in range(SEEDS)]
    everywhere = Image.new("L", (SIZE, SIZE), 255)
    for every in EVERY:
        found = [psnr(draw(model, seed, every), one, everywhere) for seed, one in enumerate(whole)]
        rows.append(Row("A small loss", 30.0, statistics.median(found),
                        f"PSNR against every step whole, step cache {every}, median of {SEEDS}", "dB", 1.0))
    return rows


def passes(model: DiffusionModel, size: int, rounds: int) -> dict[str, float]:
    """Median seconds of a whole and of a shallow pass."""
    x, level = torch.randn(2, 4, size // 8, size // 8), stable_diffusion().at_t(500)
    words, deep = Conditioning(torch.randn(2, 77, 768)), model.deep_cache()
    assert deep is not None

    def timed(whole: bool) -> list[float]:
        predict, began = deep.step(whole), time.perf_counter()
        predict(x, level, words)
        return [time.perf_counter() - began]

    timed(True)  # packs
    return medians(interleaved({"whole": lambda: timed(True), "shallow": lambda: timed(False)}, rounds))


def draw(model: DiffusionModel, seed: int, every: int) -> Image.Image:
    """One picture of 20 DDIM steps."""
    request = Txt2Img(prompt=SCENES[seed % len(SCENES)], seed=seed, subseed=0, steps=20, cfg_scale=3.0, width=SIZE,
                      height=SIZE, sampler="DDIM", options=Options(step_cache=every))
    (picture,) = recipes.generate(lambda *_: model, resolve(request), NullJob()).pictures
    return picture.image
