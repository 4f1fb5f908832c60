"""What was computed a moment ago and is asked for again: the same photograph, the same prompt, another seed."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

BUDGET = 32 * 2**20
"""Bytes that one memo keeps: the latents of some hundred photographs, or as many prompts."""


class Kept(Protocol):
    """What can be kept: a tensor, a conditioning."""

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""


Value = TypeVar("Value", bound=Kept)


class Memo(Generic[Value]):
    """Values by what they were made from, the least recently used forgotten first. For any thread."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget, self._held = budget, 0
        self._kept: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """What `make` gave for this key. Nobody may write into it."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = made
                self._held += made.nbytes
            while self._held > self._budget:
                _, oldest = self._kept.popitem(last=False)
                self._held -= oldest.nbytes
        return made

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._kept.clear()
            self._held = 0


def fingerprint(tensor: Tensor) -> tuple[str, tuple[int, ...]]:
    """A tensor's content and shape as a key: equal tensors have equal ones (up to a collision of 128-bit hashes)."""
    values = tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
    return hashlib.blake2b(values, digest_size=16).hexdigest(), tuple(tensor.shape)
