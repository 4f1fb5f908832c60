"""Freed memory goes back to the system."""

from __future__ import annotations

import ctypes
import sys

import psutil
import pytest

from modules.base.heap import give_back

BLOCK, BLOCKS = 60_000, 4000
"""Smaller than what an allocator takes from the system one by one."""


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="glibc only")
def test_memory_between_blocks_in_use_is_given_back() -> None:
    blocks = [b"x" * BLOCK for _ in range(BLOCKS)]
    kept = blocks[::50]  # so that no long stretch at the end is free
    kept.append(blocks[-1])
    del blocks
    before = psutil.Process().memory_info().rss
    give_back()
    assert before - psutil.Process().memory_info().rss > BLOCK * BLOCKS / 2
    assert len(kept) == 81
