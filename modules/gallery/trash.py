"""Deleting so that it can be undone: pictures move into a hidden folder beside the others, one folder a deletion.

outputs/.trash/20260131-120000-123456/txt2img-images/2026-01-31/00000-1234.png keeps the path that it had.
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
        """Moves files into the trash as one deletion: where they were, to where they are. Those that cannot be moved
        stay, and are not in the answer."""
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
        """Undoes the newest deletion: where files were in the trash, to where they are again.

        A file whose name has been taken since gets another one. Raises OSError when nothing can be moved.
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
        """Whether there is nothing to undo."""
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
