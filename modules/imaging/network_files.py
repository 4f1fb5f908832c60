"""Image-to-image networks (upscalers, face restorers), found by the names of their files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from modules.base.files import FileVersion, file_version
from modules.errors import InvalidInput

Network = Callable[[Image.Image], Image.Image]
"""RGB picture -> RGB picture, larger by the network's own factor."""

LoadNetwork = Callable[[Path], Network]
"""Reads a model file. Raises CheckpointError."""

SUFFIXES = (".safetensors", ".pth", ".pt")


def _no_network(path: Path) -> Network:
    raise InvalidInput(f"{path.name} cannot be used here.")


class NetworkFiles:
    """The model files in `folders`. A file is read when its network is first used; only the last network is kept.

    Only one thread at a time may use a network; the job queue's worker is that thread.
    """

    def __init__(self, folders: Sequence[Path] = (), load: LoadNetwork = _no_network) -> None:
        self._folders, self._load = folders, load
        self._kept: tuple[tuple[Path, FileVersion | None], Network] | None = None

    def files(self) -> dict[str, Path]:
        """The model files by name (the file name without its suffix), sorted by name."""
        found = sorted(path for folder in self._folders if folder.is_dir() for path in folder.rglob("*")
                       if path.suffix.lower() in SUFFIXES and path.is_file())
        named = {path.stem: path for path in reversed(found)}  # of two files with the same name, the first is used
        return dict(sorted(named.items(), key=lambda item: item[0].lower()))

    def network(self, path: Path) -> Network:
        """The network in that file. Raises CheckpointError."""
        key = (path, file_version(path))
        if self._kept is None or self._kept[0] != key:
            self._kept = None
            self._kept = key, self._load(path)
        return self._kept[1]
