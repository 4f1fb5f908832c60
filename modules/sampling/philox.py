"""The random numbers of an NVIDIA GPU, computed anywhere: philox 4x32-10 (Salmon et al. 2011) and Box-Muller."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

Shape = Sequence[int]
"""The shape of one image's block: (channels, latent height, latent width), or a batch of one."""


def philox_stream(seed: int) -> Callable[[Shape], Tensor]:
    """Return a function whose calls give the blocks that calls of torch.randn give on an NVIDIA GPU after `seed`.

    The counter's first word is the number of the call, its third the number of the element. Box-Muller uses two of the
    four output words. A block is float32 on the CPU.
    """
    calls = 0

    def draw(shape: Shape) -> Tensor:
        nonlocal calls
        elements = np.arange(int(np.prod(shape)), dtype=np.uint32)
        zeros = np.zeros_like(elements)
        words = philox(seed, [np.full_like(elements, calls), zeros, elements, zeros])
        calls += 1
        u, v = ((word.astype(np.float32) * np.float32(2**-32) + np.float32(2**-33)) for word in words[:2])
        radius = np.sqrt(np.float32(-2) * np.log(u))
        return torch.from_numpy((radius * np.sin(v * np.float32(2 * np.pi))).reshape(shape).astype(np.float32))

    return draw


def philox(seed: int, counter: list[np.ndarray]) -> list[np.ndarray]:
    """Ten rounds of philox4x32: four counter words to four output words, integer arrays of one shape below 2^32."""
    key = [np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32 & 0xFFFFFFFF)]
    low = np.uint64(0xFFFFFFFF)
    words = [word.astype(np.uint64) for word in counter]
    for _ in range(10):
        left, right = words[0] * np.uint64(0xD2511F53), words[2] * np.uint64(0xCD9E8D57)
        words = [(right >> np.uint64(32)) ^ words[1] ^ key[0], right & low,
                 (left >> np.uint64(32)) ^ words[3] ^ key[1], left & low]
        key = [(key[0] + np.uint64(0x9E3779B9)) & low, (key[1] + np.uint64(0xBB67AE85)) & low]
    return words
