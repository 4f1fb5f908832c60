"""Brownian motion for SDE samplers: each image has one random path over sigma, whatever steps are asked for.

The path is a virtual Brownian tree (Gaines and Lyons 1997; Li et al. 2020, "Scalable Gradients for Stochastic
Differential Equations", section 4): an interval is halved again and again, and the increment of its left half is drawn
given that of the whole. WebUI draws from torchsde's `BrownianTree`. Seeds, rounding and arithmetic here are those of
torchsde 0.2.6, so that the numbers are the same to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from modules.sampling.philox import philox_stream

DrawSeeded = Callable[[int], Tensor]
"""Standard normal numbers of one image's shape, from a seed."""

DIGITS = 6
"""Decimals of sigma: levels that are nearer to each other are the same."""

POOL_SIZE = 24
"""Words of entropy that numpy mixes a seed into."""

REMEMBERED = 48
"""Increments that a path keeps for the next step, which begins where the last one ended."""


class BrownianTree:
    """Increments of one Brownian path for each image, divided by the root of the distance, so of unit variance.

    As k-diffusion's `BrownianTreeNoiseSampler`.
    """

    def __init__(self, x: Tensor, sigma_min: float, sigma_max: float, seeds: Sequence[int],
                 source: str = "CPU") -> None:
        """x (B, C, h, w) says shape, device and dtype of the noise. The paths run from `sigma_min` to `sigma_max`.

        With B seeds each image has a path of its own; one seed draws a path for the whole batch. `source` is "NV" for
        philox; otherwise the CPU's generator draws.
        """
        low, high = sorted((_float32(sigma_min), _float32(sigma_max)))
        self._device = x.device
        shape = (1, *x.shape[1:]) if len(seeds) > 1 else tuple(x.shape)
        self._paths = [_Path(low, high, seed, _drawn(source, shape, x.dtype)) for seed in seeds]

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        """The increment from `sigma` to `sigma_next` over sqrt(|difference|), (B, C, h, w)."""
        first, last = sorted((float(sigma), float(sigma_next)))
        sign = 1 if float(sigma) < float(sigma_next) else -1
        steps = [path(_float32(first), _float32(last)) for path in self._paths]
        increment: Tensor = sign * torch.cat(steps).to(self._device) / abs(last - first) ** 0.5
        return increment


@dataclass(frozen=True)
class _Interval:
    """An interval of the tree: the `number`-th of 2^`depth` from the left."""

    start: float
    end: float
    number: int = 0
    depth: int = 0

    def halves(self) -> tuple[_Interval, _Interval]:
        """Its left and its right half."""
        middle = round(0.5 * (self.end + self.start), DIGITS)
        return (_Interval(self.start, middle, 2 * self.number, self.depth + 1),
                _Interval(middle, self.end, 2 * self.number + 1, self.depth + 1))


class _Path:
    """One Brownian path W from `start` to `end`."""

    def __init__(self, start: float, end: float, seed: int, draw: DrawSeeded) -> None:
        self._seed, self._draw = seed, draw
        self._all = _Interval(round(start, DIGITS), round(end, DIGITS))
        self._increment = self._noise() * math.sqrt(end - start)
        self._lefts: dict[_Interval, Tensor] = {}  # increments of left halves, the one used last at the end

    def __call__(self, first: float, last: float) -> Tensor:
        """W(last) - W(first). Levels beyond an end of the path count as that end."""
        first, last = (round(min(max(level, self._all.start), self._all.end), DIGITS) for level in (first, last))
        if first == last:
            return torch.zeros_like(self._increment)
        increment, *others = self._parts(self._all, self._increment, first, last)
        for other in others:
            increment = increment + other
        return increment

    def _parts(self, interval: _Interval, increment: Tensor, first: float, last: float) -> Iterator[Tensor]:
        """The increments of the intervals of the tree that `first` to `last` consists of, from left to right.

        `increment` is that of `interval`, in which `first` and `last` lie.
        """
        if (first, last) == (interval.start, interval.end):
            yield increment
            return
        left, right = interval.halves()
        of_left = self._of_left(interval, left, right, increment)
        if first < left.end:
            yield from self._parts(left, of_left, first, min(last, left.end))
        if last > right.start:
            yield from self._parts(right, increment - of_left, max(first, right.start), last)

    def _of_left(self, interval: _Interval, left: _Interval, right: _Interval, increment: Tensor) -> Tensor:
        """The increment of the left half: normal, with its share of the whole one's as its mean."""
        found = self._lefts.pop(interval, None)
        if found is None:
            inverse = 1 / (interval.end - interval.start)
            before, after = left.end - left.start, right.end - right.start
            noise = self._noise(interval.number, interval.depth)
            found = before * increment * inverse + math.sqrt(before * after * inverse) * noise
            if len(self._lefts) >= REMEMBERED:
                del self._lefts[next(iter(self._lefts))]
        self._lefts[interval] = found
        return found

    def _noise(self, *place: int) -> Tensor:
        """Standard normal numbers that belong to one place in the tree."""
        words = np.random.SeedSequence(self._seed, spawn_key=place, pool_size=POOL_SIZE).generate_state(1)
        return self._draw(int(words[0]))


def _drawn(source: str, shape: tuple[int, ...], dtype: torch.dtype) -> DrawSeeded:
    """How numbers of `shape` are drawn from a seed."""
    if source == "NV":
        return lambda seed: philox_stream(seed)(shape).to(dtype)
    return lambda seed: torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def _float32(level: float) -> float:
    """`level` as float32 rounds it, which it passes through in WebUI."""
    return float(np.float32(level))
