"""Networks in folders of transformers' layout: which there are, and the one that was read last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from modules.base.files import FileVersion, tree_version

T = TypeVar("T")


def network_folders(places: Sequence[Path]) -> list[Path]:
    """The folders with a config.json in `places`, place by place in the order of their names."""
    return [path.parent for place in places if place.is_dir() for path in sorted(place.glob("*/config.json"))]


class Newest(Generic[T]):
    """The network that was read last. It is read anew when another one is wanted or its files have changed."""

    def __init__(self) -> None:
        self._kept: tuple[tuple[Path, FileVersion | None], T] | None = None

    def of(self, path: Path, read: Callable[[Path], T]) -> T:
        """The network in the file or folder `path`. What was kept is dropped before another is read."""
        key = (path, tree_version(path))
        if self._kept is None or self._kept[0] != key:
            self._kept = None
            self._kept = key, read(path)
        return self._kept[1]

    def forget(self) -> None:
        """Drop it."""
        self._kept = None
