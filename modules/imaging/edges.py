"""Shares laid along the edges of a picture, by the guided filter (He, Sun, Tang 2013)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Array = NDArray[np.float32]

FULL_EDGE = 2048
"""Pixels of the longer side up to which the edge is laid at full size."""
SMOOTH = 1e-3
"""Edges with less contrast, squared, do not hold it; values are from 0 to 1."""


def along_edges(shares: Array, picture: Pixels) -> Array:
    """`shares` (h, w), 0 to 1, of a small copy of the RGB `picture` (H, W, 3), as shares of its pixels (H, W)."""
    height, width = picture.shape[:2]
    scale = min(FULL_EDGE / max(height, width), 1.0)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    soft = np.asarray(cv2.resize(shares, size, interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    if size[0] > shares.shape[1]:
        guide = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
        radius = round(1.5 * size[0] / shares.shape[1])
        soft = _guided(np.asarray(guide, dtype=np.float32) / np.float32(255), soft, radius)
    return np.asarray(cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _guided(guide: Array, values: Array, radius: int) -> Array:
    """`values` smoothed so that they change where `guide` does; both (H, W)."""
    side = (2 * radius + 1, 2 * radius + 1)
    mean_guide, mean_values = cv2.blur(guide, side), cv2.blur(values, side)
    slope = (cv2.blur(guide * values, side) - mean_guide * mean_values) / (
        cv2.blur(guide * guide, side) - mean_guide**2 + SMOOTH)
    offset = mean_values - slope * mean_guide
    return np.asarray(cv2.blur(slope, side) * guide + cv2.blur(offset, side), dtype=np.float32)
