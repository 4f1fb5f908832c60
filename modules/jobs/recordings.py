"""The recorded steps of jobs: files in a folder of the server's own, which go when their jobs are forgotten.

Their names are random, so that only who was told of one can ask for it.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

MOST_BYTES = 2**30
"""Of all recordings together. The oldest go first."""

LEFT_BEHIND = 24 * 3600.0
"""Seconds after which a file belongs to no server that still runs."""


class Recordings:
    """The recordings in `folder`, which may be shared with other servers. Files that they left behind are removed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, Path] = {}  # by name, the oldest first
        for file in folder.glob("*.safetensors") if folder.is_dir() else ():
            with contextlib.suppress(OSError):
                if time.time() - file.stat().st_mtime > LEFT_BEHIND:
                    file.unlink()

    def new(self) -> Path:
        """A name for the next recording. What has become too much is removed."""
        written = [file for file in self._files.values() if file.is_file()]
        sizes = [file.stat().st_size for file in written]
        while sum(sizes) > MOST_BYTES and len(sizes) > 1:
            self.forget([written.pop(0)])
            sizes.pop(0)
        name = uuid.uuid4().hex
        self._files[name] = self.folder / f"{name}.safetensors"
        return self._files[name]

    def find(self, name: str) -> Path | None:
        """The file of that name, without its suffix; None if there is none, or not any more."""
        file = self._files.get(name)
        return file if file and file.is_file() else None

    def forget(self, files: Iterable[Path]) -> None:
        """Remove `files`."""
        for file in files:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
            self._files.pop(file.stem, None)

    def close(self) -> None:
        """Remove all."""
        self.forget([*self._files.values()])
