"""Patches of a picture and those most like them elsewhere: how well a fill fits, and the fine detail that it lacks.

Pictures are (h, w, 3) of uint8, holes (h, w) of bool.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

Array = np.ndarray[Any, Any]

RADIUS = 3
"""Patches are 7 x 7 pixels, of which every second counts."""
SAMPLES = 400
"""So many patches say how well a fill fits."""
CELL = 4
"""Detail is taken over in cells of this side, in pixels of the small picture."""
CHUNK = 256
"""So many patches are compared with all others at a time: with 2 ** 16 others that takes 64 MB."""
BAND = 256
"""So many rows of the large picture are filled at a time."""


def incoherence(picture: Array, hole: Array, check: Callable[[], None] = lambda: None) -> float:
    """How unlike the rest the filled `hole` is: the root mean square of what its patches, those across its rim among
    them, differ from the nearest patch outside, in grey levels."""
    touched = _touched(hole)
    places = np.argwhere(touched)
    if len(places) > SAMPLES:
        places = places[np.random.default_rng(0).choice(len(places), SAMPLES, replace=False)]
    _, distances = nearest(picture, places, _sources(touched), check)
    return float(np.sqrt(distances.mean())) if len(places) else 0.0


def with_detail(large: Array, hole: Array, small: Array, small_hole: Array, check: Callable[[], None]) -> Array:
    """`large` with its `hole` filled as in `small`, a filled picture of the same view with fewer pixels.

    What a small picture cannot have, the difference between `large` and `small` enlarged, is copied cell by cell from
    the place outside the hole that looks most like the cell.
    """
    height, width = hole.shape
    enlarged = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    offsets = _offsets(small, small_hole, check)
    scale = np.array([height / small.shape[0], width / small.shape[1]])
    result = large.copy()
    for top in range(0, height, BAND):
        check()
        y, x = np.nonzero(hole[top : top + BAND])
        y += top
        cells = offsets[(y / scale[0] / CELL).astype(int), (x / scale[1] / CELL).astype(int)]  # (n, 2)
        from_y = (y + np.round(cells[:, 0] * scale[0]).astype(int)).clip(0, height - 1)
        from_x = (x + np.round(cells[:, 1] * scale[1]).astype(int)).clip(0, width - 1)
        detail = large[from_y, from_x].astype(np.int16) - enlarged[from_y, from_x]
        detail[hole[from_y, from_x]] = 0
        result[y, x] = (enlarged[y, x] + detail).clip(0, 255)
    return result


def nearest(picture: Array, places: Array, sources: Array, check: Callable[[], None]) -> tuple[Array, Array]:
    """For the patches around `places` (n, 2) the most similar ones around `sources` (m, 2), both as row and column:
    (indices, mean squared differences), each (n,)."""
    known = _patches(picture, sources)
    squares = (known**2).sum(1)
    indices, distances = np.zeros(len(places), int), np.zeros(len(places), np.float32)
    for first in range(0, len(places), CHUNK):
        check()
        asked = _patches(picture, places[first : first + CHUNK])
        table = squares - 2 * asked @ known.T  # without the square of `asked`, which is the same for all
        best = table.argmin(1)
        indices[first : first + CHUNK] = best
        distances[first : first + CHUNK] = table[np.arange(len(best)), best] + (asked**2).sum(1)
    return indices, distances.clip(0) / known.shape[1]


def _offsets(picture: Array, hole: Array, check: Callable[[], None]) -> Array:
    """Where each cell's detail comes from: (rows, columns, 2), in pixels of `picture` from the cell."""
    height, width = hole.shape
    rows, columns = -(-height // CELL), -(-width // CELL)
    offsets = np.zeros((rows, columns, 2), int)
    cells = np.argwhere(cv2.resize(hole.astype(np.uint8), (columns * CELL, rows * CELL))
                        .reshape(rows, CELL, columns, CELL).any(axis=(1, 3)))
    places = (cells * CELL + CELL // 2).clip(RADIUS, (height - RADIUS - 1, width - RADIUS - 1))
    sources = _sources(_touched(hole))
    if not len(sources):
        return offsets
    found, _ = nearest(picture, places, sources, check)
    offsets[cells[:, 0], cells[:, 1]] = _aligned(picture, places, sources[found]) - places
    return offsets


def _aligned(picture: Array, places: Array, sources: Array) -> Array:
    """`sources` moved by at most one pixel each way to where they fit best; they lie on a grid of every second."""
    steps = np.array([(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)])
    limits = np.array(picture.shape[:2]) - RADIUS - 1
    moved = (sources[None] + steps[:, None]).clip(RADIUS, limits)  # (9, n, 2)
    asked = _patches(picture, places)
    errors = np.stack([((_patches(picture, one) - asked) ** 2).sum(1) for one in moved])
    best: Array = moved[errors.argmin(0), np.arange(len(places))]
    return best


def _touched(hole: Array) -> Array:
    """Where a patch around the pixel holds some of the hole."""
    kernel = np.ones((2 * RADIUS + 1, 2 * RADIUS + 1), np.uint8)
    touched: Array = cv2.dilate(hole.astype(np.uint8), kernel).astype(bool)
    touched[:RADIUS] = touched[-RADIUS:] = touched[:, :RADIUS] = touched[:, -RADIUS:] = False
    return touched


def _sources(touched: Array) -> Array:
    """Every second place in both directions whose patch lies in the picture and holds nothing of the hole."""
    free = ~touched
    free[:RADIUS] = free[-RADIUS:] = free[:, :RADIUS] = free[:, -RADIUS:] = False
    free[1::2] = free[:, 1::2] = False
    return np.argwhere(free)


def _patches(picture: Array, places: Array) -> Array:
    """The patches around `places`: (n, 48), float32."""
    windows = np.lib.stride_tricks.sliding_window_view(picture, (2 * RADIUS + 1,) * 2, axis=(0, 1))
    chosen = windows[places[:, 0] - RADIUS, places[:, 1] - RADIUS, :, ::2, ::2]
    return chosen.reshape(len(places), -1).astype(np.float32)
