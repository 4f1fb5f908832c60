"""Weights kept in float16 while what computes with them has been overwritten."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

IN_CACHE = 2**17
"""So many numbers and what is made of them stay in the processor's cache."""


class Halves:
    """The values of a part's float32 weights in float16, of those that have no others, as all of a file in float16.

    A model with networks on takes one and a half times its memory then instead of twice as much. Once made they are
    kept as long as the part: to allocate them takes longer than to compute a LoRA.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Tensor | None] = {}

    def of(self, path: str, weight: Callable[[], Tensor]) -> Tensor | None:
        """The values of `weight()`, the own one of the layer at `path`; None if it is no contiguous float32 tensor or
        has values that float16 has not."""
        if path not in self._kept:
            self._kept[path] = _halves(weight())
        return self._kept[path]


def _halves(weight: Tensor) -> Tensor | None:
    if weight.dtype != torch.float32 or not weight.is_contiguous():
        return None
    halves = torch.empty_like(weight, dtype=torch.float16)
    parts = (torch.split(one.flatten(), IN_CACHE) for one in (halves, weight))
    for narrow, wide in zip(*parts, strict=True):
        if not torch.equal(narrow.copy_(wide).float(), wide):
            return None
    return halves
