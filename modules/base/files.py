"""The version of a file, to notice that it has changed."""

from __future__ import annotations

from pathlib import Path

FileVersion = tuple[int, int]
"""A file's size in bytes and its modification time in nanoseconds."""


def file_version(path: Path) -> FileVersion | None:
    """The version of the file, which differs after its content has changed. None if the file cannot be found."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
