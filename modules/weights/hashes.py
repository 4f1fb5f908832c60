"""A cache of the SHA-256 hashes of large files, stored in a JSON file."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modules.base.files import tree_version, write_whole


def whole_digest(file: io.BufferedReader) -> str:
    """The SHA-256 of a whole file, 64 hex digits."""
    return hashlib.file_digest(file, "sha256").hexdigest()


Digest = Callable[[io.BufferedReader], str]


def _of_file(path: Path, digest: Digest) -> str:
    with path.open("rb") as file:
        return digest(file)


def _of_folder(folder: Path, digest: Digest) -> str:
    """The SHA-256 of the names and hashes of all files of weights in a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".safetensors", ".bin"))
    lines = [f"{path.relative_to(folder).as_posix()} {_of_file(path, digest)}\n" for path in paths]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


class HashCache:
    """Hashes by path, of files and of folders. An entry is valid as long as sizes and modification times stay the same.
    """

    def __init__(self, cache_file: Path | None, digest: Digest = whole_digest) -> None:
        """A missing or damaged `cache_file` counts as empty. With None, hashes are kept in memory only. `digest`
        computes the hash of an open file."""
        self._cache_file, self._digest = cache_file, digest
        self._lock = threading.Lock()
        self._entries = _read(cache_file) if cache_file else {}

    def known(self, path: Path) -> str | None:
        """The hash, 64 hex digits, if it is cached and valid, otherwise None."""
        try:
            entry = self._entries.get(str(path))
            now = tree_version(path)
            return str(entry["sha256"]) if entry and now and tuple(entry["file_version"]) == now else None
        except (KeyError, TypeError):
            return None

    def sha256(self, path: Path) -> str:
        """The hash, 64 hex digits. The file is read if its hash is not cached.

        Raises:
            OSError: the file cannot be read.
        """
        if known := self.known(path):
            return known
        if self._cache_file:  # another process may have computed it meanwhile
            with self._lock:
                self._entries = {**_read(self._cache_file), **self._entries}
            if known := self.known(path):
                return known
        now = tree_version(path)
        digest = _of_folder(path, self._digest) if path.is_dir() else _of_file(path, self._digest)
        with self._lock:
            self._entries[str(path)] = {"file_version": now, "sha256": digest}
            self._write()
        return digest

    def _write(self) -> None:
        if self._cache_file is None:
            return
        with contextlib.suppress(OSError):  # without a cache file, hashes are computed again in the next run
            write_whole(self._cache_file, json.dumps(self._entries, indent=1).encode())


def _read(cache_file: Path) -> dict[str, Any]:
    try:
        content = json.loads(cache_file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
