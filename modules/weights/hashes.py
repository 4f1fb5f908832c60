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

from modules.base.files import file_version, write_whole


def whole_digest(file: io.BufferedReader) -> str:
    """The SHA-256 of a whole file, 64 hex digits."""
    return hashlib.file_digest(file, "sha256").hexdigest()


class HashCache:
    """Hashes by path. An entry is valid as long as the file's size and modification time stay the same."""

    def __init__(self, cache_file: Path | None, digest: Callable[[io.BufferedReader], str] = whole_digest) -> None:
        """A missing or damaged `cache_file` counts as empty. With None, hashes are kept in memory only. `digest`
        computes the hash of an open file."""
        self._cache_file, self._digest = cache_file, digest
        self._lock = threading.Lock()
        self._entries = _read(cache_file) if cache_file else {}

    def known(self, path: Path) -> str | None:
        """The hash, 64 hex digits, if it is cached and valid, otherwise None."""
        try:
            entry = self._entries.get(str(path))
            now = file_version(path)
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
        now = file_version(path)
        with path.open("rb") as file:
            digest = self._digest(file)
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
