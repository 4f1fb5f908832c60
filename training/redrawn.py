"""Scenes as the UNet draws them: their latents, noised and denoised again.

A decoder that saw only exact latents shows every small mistake of the UNet. Pairs of a scene and of its redrawn latents
teach it which contour was meant.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import captions
import latents
import numpy as np
import photos
import torch
from drawing import draw
from loop import Worker, half_precision, load_average
from model import Sizes, TextEncoder, UNet
from sample import ddim
from scenes import Scene, sample_scene
from text import Words
from torch import Tensor

STEPS = 20  # of a whole drawing, as the page draws
LAST = (3, 4, 5, 6, 8, 10)  # as many of them are drawn again: with more another thing stands there
GUIDANCE = 3.0
TOGETHER = 8


def scene(seed: int, data: Path) -> tuple[Scene, np.ndarray]:
    """The scene of a seed and its picture, uint8 (SIZE, SIZE, 3)."""
    rng = random.Random(f"redrawn/{seed}")
    chosen = sample_scene(rng)
    return chosen, np.asarray(draw(chosen, rng, data / "art"))


@torch.no_grad()
def redraw(worker: Worker, data: Path, folder: Path, sizes: Sizes, count: int) -> None:
    """Writes folder/redrawn-<rank>.pt: the seeds of a worker's part of `count` scenes and their latents
    (N, 4, 32, 32), fp16."""
    words, linear, device = Words(data / "bpe.txt.gz"), latents.load(data), worker.device
    unet, text = UNet(sizes), TextEncoder(replace(sizes, vocabulary=len(words)))
    load_average(unet, folder / "unet.pt", "unet")
    load_average(text, folder / "text.pt", "text")
    unet.eval().to(device), text.eval().to(device)
    torch.manual_seed(worker.rank)
    seeds, made = list(range(worker.rank, count, worker.count)), []
    for start in range(0, len(seeds), TOGETHER):
        drawn = [scene(seed, data) for seed in seeds[start: start + TOGETHER]]
        z = linear.encode(latents.to_tensor([picture for _, picture in drawn])).to(device)
        said = words([captions.plain_prompt(one) for one, _ in drawn]).to(device)
        last = LAST[start // TOGETHER % len(LAST)]
        with half_precision(device):
            context, empty = text(said), text(words([""] * len(drawn)).to(device))
            z = ddim(unet, torch.randn_like(z), context, empty, STEPS, GUIDANCE, begun=z, last=last)
        made.append(z.float().cpu().half())
        if worker.rank == 0:
            print(f"redrawn: {(start + len(drawn)) * worker.count} of {count}", flush=True)
    torch.save({"seeds": seeds, "latents": torch.cat(made)}, folder / f"redrawn-{worker.rank}.pt")


class Redrawn:
    """What `redraw` wrote: false where it wrote nothing."""

    def __init__(self, data: Path, folder: Path) -> None:
        parts = [torch.load(path) for path in sorted(folder.glob("redrawn-*.pt"))]
        self.data = data
        self.kept = [pair for part in parts for pair in zip(part["seeds"], part["latents"], strict=True)]

    def __bool__(self) -> bool:
        return bool(self.kept)

    def squares(self, rng: random.Random, count: int, side: int) -> tuple[Tensor, Tensor]:
        """Squares of one scene (count, 3, side, side) in -1..1, and its redrawn latents there
        (count, 4, side / 8, side / 8)."""
        seed, redrawn = rng.choice(self.kept)
        _, picture = scene(seed, self.data)
        squares, cells = [], []
        for _ in range(count):
            y, x = photos.detailed(picture, rng, side, latents.PATCH)
            squares.append(picture[y: y + side, x: x + side])
            down, right = y // latents.PATCH, x // latents.PATCH
            cells.append(redrawn[:, down: down + side // latents.PATCH, right: right + side // latents.PATCH].float())
        return latents.to_tensor(squares), torch.stack(cells)
