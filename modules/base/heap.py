"""Memory that was freed, given back to the system."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable


def give_back() -> None:
    """Give freed memory back to the system. glibc keeps what lies between blocks that are in use, for each thread that
    allocated; after a large picture that can be hundreds of megabytes. Elsewhere the allocator decides."""
    _trim()(0)


@functools.cache
def _trim() -> Callable[[int], object]:
    if sys.platform == "linux":
        try:
            return ctypes.CDLL(None).malloc_trim
        except (OSError, AttributeError):  # another C library
            pass
    return lambda keep: None
