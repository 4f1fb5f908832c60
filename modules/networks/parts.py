"""The networks that are in memory, each by the file that it came from: models that hold the same part share it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

import torch
from torch import nn

from modules.base.files import FileVersion, tree_version


@dataclass(frozen=True)
class PartKey:
    """Which part of which file, in what state the file was, of what shape, and how the part computes."""

    path: Path
    version: FileVersion | None
    name: str
    shape: Hashable
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, path: Path, name: str, shape: Hashable, dtype: torch.dtype, device: torch.device) -> PartKey:
        """The key of a part of the file as it is now."""
        return cls(path, tree_version(path), name, shape, dtype, device)


class Parts:
    """Networks by key, for as long as some model holds them. Not for two threads at once."""

    def __init__(self) -> None:
        self._kept: WeakValueDictionary[PartKey, nn.Module] = WeakValueDictionary()

    def find(self, key: PartKey) -> nn.Module | None:
        """The part, if some model has it still."""
        return self._kept.get(key)

    def keep(self, key: PartKey, module: nn.Module) -> nn.Module:
        """Remembers `module`, and returns it."""
        self._kept[key] = module
        return module
