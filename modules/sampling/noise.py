"""Noise: each image has a random generator of its own, so that a picture does not depend on its batch.

The arithmetic is that of WebUI's `modules/rng.py` (`ImageRNG`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from modules.sampling.philox import Shape, philox_stream

Draw = Callable[[Shape], Tensor]
"""One image's stream: each call returns the next block of standard normal numbers of that shape."""


class ImageNoise:
    """The noise of one batch. `first()` is what sampling starts from; each `next()` is another block for every image.

    Image k draws from `seeds[k]`. A subseed strength s turns the first block towards that of `subseeds[k]` (s = 1: all
    of it). `resize_from` (4, h, w) draws the first block for another size and puts it in the middle. `seed_delta`
    (WebUI's "eta noise seed delta") is added to the seed for all blocks but the first. Blocks are (B, 4, h, w) float32.
    """

    def __init__(self, shape: Shape, seeds: Sequence[int], *, subseeds: Sequence[int] = (),
                 subseed_strength: float = 0.0, resize_from: Shape | None = None, seed_delta: int = 0,
                 source: str = "CPU", device: torch.device | str = "cpu") -> None:
        self.shape = shape
        self.seeds = tuple(seeds)
        self._subseeds = tuple(subseeds) or self.seeds
        self._strength = subseed_strength
        self._resize_from = resize_from
        self._delta = seed_delta
        self._source, self._device = source, torch.device(device)
        self._streams: list[Draw] = []
        self._chosen: Tensor | None = None
        self._goes_on = False

    def with_first(self, block: Tensor) -> ImageNoise:
        """The same streams, beginning with `block` (B, 4, h, w) instead of the first of their own."""
        other = copy.copy(self)
        other._chosen = block
        return other

    def resumed(self, block: Tensor) -> ImageNoise:
        """The same streams from where they have come to, beginning with `block` (B, 4, h, w)."""
        other = self.with_first(block)
        other._goes_on = True
        return other

    def first(self) -> Tensor:
        """The initial noise. Starts every image's stream anew, so calling it twice gives the same block."""
        if self._goes_on and self._chosen is not None:
            return self._chosen
        self._streams = [self._stream(seed) for seed in self.seeds]
        noise = torch.stack([self._first_of(k) for k in range(len(self.seeds))])
        if self._delta:
            self._streams = [self._stream((seed + self._delta) % 2**64) for seed in self.seeds]
        return noise.to(self._device) if self._chosen is None else self._chosen

    def next(self) -> Tensor:
        """The next block of every image's stream."""
        return torch.stack([draw(self.shape) for draw in self._streams]).to(self._device)

    def _first_of(self, k: int) -> Tensor:
        block = self._streams[k](self.shape)
        small = self._resize_from
        # With a resize the stream's own first block only frames the small one, which its seed draws afresh.
        noise = self._stream(self.seeds[k])(small) if small else block
        if self._strength:
            noise = slerp(self._strength, noise, self._stream(self._subseeds[k])(noise.shape))
        return paste_in_middle(block, noise) if small else noise

    def _stream(self, seed: int) -> Draw:
        if self._source == "NV":
            return philox_stream(seed)
        return torch_stream(seed, self._device if self._source == "GPU" else torch.device("cpu"))


def torch_stream(seed: int, device: torch.device) -> Draw:
    """PyTorch's own generator: Mersenne twister on the CPU, philox on CUDA."""
    generator = torch.Generator(device).manual_seed(seed)
    return lambda shape: torch.randn(shape, generator=generator, device=device)


def slerp(amount: float, low: Tensor, high: Tensor) -> Tensor:
    """Spherical interpolation from `low` to `high`, (c, h, w) each; `amount` is 0 to 1.

    As WebUI does, the angle is taken over h, for each channel and column. Nearly parallel blocks are mixed linearly and
    with the roles exchanged, as WebUI does too.
    """
    low_unit = low / low.norm(dim=1, keepdim=True)
    high_unit = high / high.norm(dim=1, keepdim=True)
    dot = (low_unit * high_unit).sum(1)
    if dot.mean() > 0.9995:
        return low * amount + high * (1 - amount)
    omega = dot.acos()  # (c, w)
    weights = [(torch.sin(part * omega) / torch.sin(omega)).unsqueeze(1) for part in (1 - amount, amount)]
    return weights[0] * low + weights[1] * high


def paste_in_middle(canvas: Tensor, block: Tensor) -> Tensor:
    """`canvas` (c, h, w) with `block` (c, h', w') in its middle; a larger block is cut to its own middle."""
    (h, w), (bh, bw) = canvas.shape[1:], block.shape[1:]
    dy, dx = (h - bh) // 2, (w - bw) // 2
    height, width = (bh if dy >= 0 else bh + 2 * dy), (bw if dx >= 0 else bw + 2 * dx)
    ty, tx, sy, sx = max(dy, 0), max(dx, 0), max(-dy, 0), max(-dx, 0)
    result = canvas.clone()
    result[:, ty : ty + height, tx : tx + width] = block[:, sy : sy + height, sx : sx + width]
    return result
