"""Files: noticing that one has changed, and writing one whole or not at all, by one writer at a time."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

FileVersion = tuple[int, int]
"""A file's size in bytes and its modification time in nanoseconds."""

LONGEST_WRITE = 3600.0
"""Seconds after which a temporary file is nobody's, whoever has its maker's number now."""

_HOST = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:63] or "host"
_TEMPORARY = re.compile(r"\..{1,200}\.(?P<host>[A-Za-z0-9-]{1,63})\.(?P<maker>\d{1,9})-\d{1,9}\.part"
                        r"|\.(?:.{1,200}\.)?(?P<old>\d{1,9})(?:-[0-9a-f]+)?\.tmp")  # old: of version 0.1
_numbers = itertools.count()
_locks: dict[Path, threading.Lock] = {}
_locks_lock = threading.Lock()


def file_version(path: Path) -> FileVersion | None:
    """The version of the file, which differs after its content has changed. None if the file cannot be found."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def tree_version(path: Path) -> FileVersion | None:
    """The version of a file, or of a folder: the sizes of all files in it together, and the newest time of anything in
    it. Hidden files and folders do not count. None if `path` cannot be found."""
    if not path.is_dir():
        return file_version(path)
    size, newest = 0, 0
    for here, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = [file_version(Path(here, name)) for name in names if not name.startswith(".")]
        size += sum(one[0] for one in inside if one)
        newest = max([newest, (file_version(Path(here)) or (0, 0))[1], *(one[1] for one in inside if one)])
    return size, newest


def temporary_name(path: Path) -> Path:
    """A hidden name beside `path` that nobody else has: with this host's name, for folders that hosts share."""
    return path.with_name(f".{path.name[:100]}.{_HOST}.{os.getpid()}-{next(_numbers)}.part")


def write_whole(path: Path, content: bytes) -> None:
    """`path` holds `content` afterwards, or what it held before, whatever happens meanwhile. Raises OSError."""
    temporary = temporary_name(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


@contextlib.contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Nobody else who asks so for the same `path` is inside: in this program, and on POSIX in another one, which a lock
    on the folder keeps out. Raises OSError when there is no such folder and none can be made.
    """
    with _locks_lock:
        lock = _locks.setdefault(path.absolute(), threading.Lock())
    with lock:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.parent):
            yield


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    if sys.platform == "win32":  # a folder cannot be locked there
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_leftover(name: str, modified: float, began: float, alive: Callable[[int], bool] = psutil.pid_exists) -> bool:
    """Whether `name` is a temporary file of a program of this host that is gone. Another host's must be a day old.

    `modified` is the file's time and `began` the time when this program began, both in seconds since 1970.
    """
    found = _TEMPORARY.fullmatch(name)
    if found is None:
        return False
    if found["host"] not in (None, _HOST):
        return modified < began - 24 * LONGEST_WRITE
    maker = int(found["maker"] or found["old"])
    if maker == os.getpid():  # ours, or of an earlier program with our number, as in a container
        return modified < began - 1
    return not alive(maker) or modified < began - LONGEST_WRITE


def sweep(folder: Path, began: float) -> int:
    """Removes what programs that were killed left in `folder` itself; how many files."""
    removed = 0
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError):
                if entry.is_file(follow_symlinks=False) and is_leftover(entry.name, entry.stat().st_mtime, began):
                    os.unlink(entry.path)
                    removed += 1
    return removed
