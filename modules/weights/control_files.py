"""The files of control networks (ControlNet, T2I-Adapter), and finding one by name. Reads names, no weights; no torch.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modules.errors import NotFound
from modules.weights.catalog import files_below
from modules.weights.hashes import HashCache

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
DIGITS = 8
START, LENGTH = 0x100000, 0x10000
"""The bytes that WebUI's old hash is of. A shorter file has the hash of nothing."""


@dataclass(frozen=True)
class ControlFile:
    """One file. `shorthash` are the first digits of WebUI's old hash."""

    path: Path
    shorthash: str

    @property
    def name(self) -> str:
        """The file name without suffix."""
        return self.path.stem

    @property
    def title(self) -> str:
        """What lists show: "name [hash]"."""
        return f"{self.name} [{self.shorthash}]"


class ControlFiles:
    """The files in some folders, which are scanned at the start and at each `refresh`. For any thread."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._folders = tuple(folders)
        self._hashes = HashCache(None, _old_hash)
        self._files: list[ControlFile] = []
        self.refresh()

    def refresh(self) -> None:
        """Scan the folders again. Of two files of one name the first counts."""
        files: dict[str, ControlFile] = {}
        for path, _ in files_below(self._folders, SUFFIXES):
            try:
                files.setdefault(path.stem, ControlFile(path, self._hashes.sha256(path)[:DIGITS]))
            except OSError:
                continue  # gone, or not for us to read
        self._files = sorted(files.values(), key=lambda file: file.name.lower())

    def files(self) -> list[ControlFile]:
        """All files, sorted by name."""
        return list(self._files)

    def titles(self, *, refresh: bool = False) -> list[str]:
        """What lists show of them."""
        if refresh:
            self.refresh()
        return [file.title for file in self._files]

    def find(self, text: str) -> ControlFile:
        """The file that `text` means: a title or a name in any case, or a part of a title, of which the shortest is
        taken. Raises NotFound."""
        wanted = text.strip().lower()
        name = wanted.partition(" [")[0]
        for fits in (lambda file: file.title.lower() == wanted, lambda file: file.name.lower() == name,
                     lambda file: bool(wanted) and wanted in file.title.lower()):
            found = [file for file in self._files if fits(file)]
            if found:
                return min(found, key=lambda file: len(file.title))
        raise NotFound(f'There is no control network "{text}" in models/ControlNet.', field="model")


def _old_hash(file: io.BufferedReader) -> str:
    file.seek(START)
    return hashlib.sha256(file.read(LENGTH)).hexdigest()
