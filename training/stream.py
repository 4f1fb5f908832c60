"""An endless stream of batches: drawn as they are needed on a CPU, and ahead, by other processes, where a GPU waits."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

Batch = TypeVar("Batch")


class _Endless(IterableDataset, Generic[Batch]):
    def __init__(self, make: Callable[[random.Random], Batch], name: str) -> None:
        self.make, self.name = make, name

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        rng = random.Random(f"{self.name}/{info.id if info else 0}/{random.SystemRandom().random()}")
        torch.manual_seed(rng.getrandbits(62))
        while True:
            yield self.make(rng)


def stream(make: Callable[[random.Random], Batch], name: str, device: torch.device) -> Iterator[Batch]:
    """make(rng) again and again; every process has an rng of its own."""
    helpers = max(1, (os.cpu_count() or 2) - 2) if device.type == "cuda" else 0
    return iter(DataLoader(_Endless(make, name), batch_size=None, num_workers=helpers,
                           prefetch_factor=8 if helpers else None))
