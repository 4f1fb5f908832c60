"""Real-ESRGAN's networks (Wang et al. 2021) from ncnn's `.bin` files, which hold weights without names.

A convolution is a tag of four bytes that says whether its weights are in half precision, the weights, and the biases; a
PReLU is its slopes. What is not said half is in single precision. The order is that of the computation.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from modules.errors import CheckpointError

HALF, SINGLE = 0x01306B47, 0
"""The tags."""
WIDTH, GROWTH = 64, 32
"""Channels of both kinds of networks, and of a dense block's inner convolutions."""

Shapes = Iterator[tuple[str, tuple[int, ...]]]
"""(name of a layer, shape of its weight): four numbers for a convolution, one for a PReLU."""


def rrdb(blocks: int) -> Shapes:
    """The layers of RealESRGAN_x4plus (23 blocks) and its anime kind (6), which enlarge four times."""
    yield "conv_first", (WIDTH, 3, 3, 3)
    for block in range(blocks):
        for dense in (1, 2, 3):
            for place in range(5):
                out = GROWTH if place < 4 else WIDTH
                yield f"body.{block}.rdb{dense}.conv{place + 1}", (out, WIDTH + GROWTH * place, 3, 3)
    for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
        yield name, (WIDTH, WIDTH, 3, 3)
    yield "conv_last", (3, WIDTH, 3, 3)


def compact(convolutions: int, scale: int) -> Shapes:
    """The layers of realesr-animevideov3 (16 convolutions between the first and the last one, scale 4)."""
    for place in range(convolutions + 1):
        yield f"body.{2 * place}", (WIDTH, WIDTH if place else 3, 3, 3)
        yield f"body.{2 * place + 1}", (WIDTH,)
    yield f"body.{2 * convolutions + 2}", (3 * scale**2, WIDTH, 3, 3)


def weights(data: bytes, layers: Shapes) -> dict[str, NDArray[np.float32]]:
    """The tensors of `layers` by the names that Real-ESRGAN's own files have. Raises CheckpointError if `data` holds
    others."""
    found: dict[str, NDArray[np.float32]] = {}
    at = 0

    def take(count: int, dtype: str) -> NDArray[np.float32]:
        nonlocal at
        values = np.frombuffer(data, dtype, count, at)
        at += -(-values.nbytes // 4) * 4  # what is half ends on a whole place of four bytes
        return values.astype(np.float32)

    try:
        for name, shape in layers:
            kind = "<f4"
            if len(shape) > 1:
                (tag,) = struct.unpack_from("<I", data, at)
                at += 4
                kind = {HALF: "<f2", SINGLE: "<f4"}[tag]
            found[f"{name}.weight"] = take(int(np.prod(shape)), kind).reshape(shape)
            if len(shape) > 1:
                found[f"{name}.bias"] = take(shape[0], "<f4")
    except (ValueError, KeyError, struct.error) as error:
        raise CheckpointError("This is not a network of Real-ESRGAN as ncnn keeps them.") from error
    if at != len(data):
        raise CheckpointError("This is not a network of Real-ESRGAN as ncnn keeps them: it holds more.")
    return found
