"""The process that runs PatchMatch's native code. `patchmatch.py` starts this file and talks to it over its pipes.

In come the numbers of `HEADER` and a picture of h * w * 4 bytes, RGB and 255 in the hole; out go h * w * 3 bytes. The
process ends when its input does.
"""

from __future__ import annotations

import os
import struct
import sys

import numpy as np

HEADER = struct.Struct("<IfIII")
"""Seed, weight of the row guide, patch radius, height, width."""

NOT_THERE = 3
"""The exit status when the native library cannot be loaded."""


def main() -> int:
    """Answer until the input ends; the exit status."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what native code prints must not come between the answers
    try:
        import patchmatch
    except ImportError:
        return NOT_THERE
    if not patchmatch.patchmatch_available:
        return NOT_THERE
    while header := sys.stdin.buffer.read(HEADER.size):
        seed, guide, radius, height, width = HEADER.unpack(header)
        asked = np.frombuffer(sys.stdin.buffer.read(height * width * 4), np.uint8).reshape(height, width, 4)
        picture, hole = np.ascontiguousarray(asked[..., :3]), np.ascontiguousarray(asked[..., 3:])
        patchmatch.set_random_seed(seed)
        if guide:
            rows = np.zeros(picture.shape, np.float32)
            rows[..., 0] = np.arange(len(rows), dtype=np.float32)[:, None] / max(picture.shape[:2])
            filled = patchmatch.inpaint_regularity(picture, hole, rows, patch_size=radius, guide_weight=guide)
        else:
            filled = patchmatch.inpaint(picture, hole, patch_size=radius)
        answers.write(filled.tobytes())
        answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
