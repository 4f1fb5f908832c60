"""The files of LoRAs, embeddings and hypernetworks, by name. Reads names and headers, no weights; no torch."""

from __future__ import annotations

import hashlib
import io
import logging
import struct
import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from modules.base.files import FileVersion, file_version
from modules.weights.catalog import MAX_HEADER, files_below, metadata
from modules.weights.hashes import HashCache

log = logging.getLogger(__name__)

LORA_SUFFIXES = (".safetensors", ".pt", ".ckpt")
HYPERNETWORK_SUFFIXES = (".pt", ".safetensors")
EMBEDDING_SUFFIXES = (".safetensors", ".pt", ".bin", ".png", ".webp", ".jxl", ".avif")

SHORT = 12
"""Digits of a hash in the parameters text."""


@dataclass(frozen=True)
class NetworkFile:
    """One file. `filename` is its path inside its folder, with "/" on every system."""

    path: Path
    filename: str

    @property
    def name(self) -> str:
        """The file name without suffix, which prompts call it by."""
        return self.path.stem


class NetworkFiles:
    """The files of one kind in some folders. The folders are scanned at the start, at each `refresh`, and when a name
    is asked for that is not known. For any thread."""

    def __init__(self, folders: Sequence[Path], suffixes: Sequence[str], hashes: HashCache) -> None:
        self.folders = tuple(folders)
        self._suffixes, self._hashes = tuple(suffixes), hashes
        self._lock = threading.Lock()
        self._metadata: dict[Path, tuple[FileVersion | None, dict[str, str]]] = {}
        self._files: dict[str, NetworkFile] = {}
        self._aliases: dict[str, NetworkFile] | None = None
        self._places: tuple[Path, ...] = ()
        self._scans = 0
        self.refresh()

    def refresh(self) -> None:
        """Scan the folders again. Of two files of one name the first counts."""
        files: dict[str, NetworkFile] = {}
        for path, filename in files_below(self.folders, self._suffixes):
            file = NetworkFile(path, filename)
            if files.setdefault(file.name, file) is not file:
                log.warning("%s is left out: %s has the same name.", filename, files[file.name].filename)
        self._files = dict(sorted(files.items(), key=lambda item: item[0].lower()))
        self._places = tuple(dict.fromkeys((*self.folders, *(file.path.parent for file in files.values()))))
        self._scans += 1
        self._aliases = None

    def files(self) -> list[NetworkFile]:
        """All files, sorted by name."""
        return list(self._files.values())

    def version(self) -> Hashable:
        """Differs after files were added, taken away or renamed, or the folders were scanned again. It does not tell
        that a file's content has changed in place."""
        return self._scans, tuple((folder, file_version(folder)) for folder in self._places)

    def find(self, name: str) -> NetworkFile | None:
        """The file of that name or alias. None if there is none, also after another look into the folders."""
        if name not in self._files and name not in self._by_alias():
            self.refresh()
        return self._files.get(name) or self._by_alias().get(name)

    def metadata(self, file: NetworkFile) -> dict[str, str]:
        """The metadata in the header of a safetensors file; see `catalog.metadata`."""
        version, (known, found) = file_version(file.path), self._metadata.get(file.path, (None, {}))
        if version is None or version != known:
            found = metadata(file.path)
            with self._lock:
                self._metadata[file.path] = version, found
        return found

    def alias(self, file: NetworkFile) -> str:
        """The name that the trainer gave a LoRA (`ss_output_name`), otherwise the file's name."""
        return self.metadata(file).get("ss_output_name") or file.name

    def short_hash(self, file: NetworkFile) -> str | None:
        """What the parameters text says of the file: the first digits of the hash in its metadata, otherwise of its
        SHA-256. None if the file is gone."""
        try:
            return (self.metadata(file).get("sshs_model_hash") or self._hashes.sha256(file.path))[:SHORT]
        except OSError:
            return None

    def _by_alias(self) -> dict[str, NetworkFile]:
        """The files by alias. One that two files have is no name, as in WebUI."""
        aliases = self._aliases  # another thread may set it to None meanwhile
        if aliases is None:
            found: dict[str, list[NetworkFile]] = {}
            for file in self.files():
                found.setdefault(self.alias(file), []).append(file)
            aliases = self._aliases = {alias: files[0] for alias, files in found.items() if len(files) == 1}
        return aliases


def tensors_digest(file: io.BufferedReader) -> str:
    """The SHA-256 of a safetensors file behind its header, as kohya's trainer computes it: training notes in the header
    may change without changing it. For another file, that of the whole file."""
    start = file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else MAX_HEADER
    looks_right = length < MAX_HEADER and file.read(1) == b"{"
    file.seek(8 + length if looks_right else 0)
    return hashlib.file_digest(file, "sha256").hexdigest()
