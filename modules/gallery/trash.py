"""The trash: deleted pictures move to a hidden folder, so that a deletion can be undone.

Each deletion has a folder of its own, in which a picture keeps its path:
outputs/.trash/20260131-120000-123456/txt2img-images/2026-01-31/00000-1234.png
"""

from __future__ import annotations

import contextlib
import datetime
import shutil
from collections.abc import Iterable
from pathlib import Path

from modules.gallery import saving

FOLDER = ".trash"


class Trash:
    """The trash of the folder `outputs`. Paths are relative to `outputs`, with slashes."""

    def __init__(self, outputs: Path) -> None:
        self._outputs = outputs
        self._folder = outputs / FOLDER

    def put(self, paths: Iterable[str]) -> dict[str, str]:
        """Move files into the trash as one deletion. Returns old paths mapped to new ones. A file that cannot be moved
        stays and is not in the result."""
        batch = self._folder / datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S-%f")
        moved = {}
        for path in paths:
            target = batch / path
            with contextlib.suppress(OSError):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(self._outputs / path, target)
                moved[path] = self._relative(target)
        if not moved:
            shutil.rmtree(batch, ignore_errors=True)
        return moved

    def take_back(self) -> dict[str, str]:
        """Undo the newest deletion. Returns the paths in the trash mapped to the restored paths.

        If a file's name has been taken meanwhile, the file gets another one. Raises OSError if a file cannot be moved.
        """
        batches = self._batches()
        if not batches:
            return {}
        moved = {}
        for file in sorted(found for found in batches[-1].rglob("*") if found.is_file() and not found.is_symlink()):
            target = self._outputs / file.relative_to(batches[-1])
            target.parent.mkdir(parents=True, exist_ok=True)
            moved[self._relative(file)] = self._relative(_put_back(file, target))
        shutil.rmtree(batches[-1])
        return moved

    def is_empty(self) -> bool:
        """True if there is no deletion to undo."""
        return not self._batches()

    def _batches(self) -> list[Path]:
        """The deletions, the newest last."""
        return sorted(entry for entry in self._folder.glob("*") if entry.is_dir())

    def _relative(self, file: Path) -> str:
        return file.relative_to(self._outputs).as_posix()


def _put_back(file: Path, target: Path) -> Path:
    free, number = target, 0
    while True:
        try:
            saving.put(file, free)
            file.unlink(missing_ok=True)
            return free
        except FileExistsError:
            number += 1
            free = target.with_stem(f"{target.stem}-{number}")
