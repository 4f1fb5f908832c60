"""Telling whether a file is still the one that was read."""

from __future__ import annotations

from pathlib import Path

FileVersion = tuple[int, int]
"""A file's size and the time of its last change, in nanoseconds."""


def file_version(path: Path) -> FileVersion | None:
    """Another one when a file's content is another one; None for a file that cannot be found."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
