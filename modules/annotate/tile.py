"""The picture as its own control, with less detail: for the tile networks and the colour adapter."""

from __future__ import annotations

import cv2

from modules.annotate.preprocessor import Pixels, Values
from modules.annotate.scale import checked, resized

SQUARE = 64
"""Pixels: the side of a square of the colour grid."""
LEAST = 1.1
"""A smaller factor leaves the picture as it is."""


def tile_resample(picture: Pixels, values: Values) -> Pixels:
    """The picture, made `a` times smaller. The resolution is not used."""
    if values.a < LEAST:
        return picture
    height, width = picture.shape[:2]
    return resized(picture, checked((int(width / values.a), int(height / values.a))), cv2.INTER_AREA)


def color(picture: Pixels, values: Values) -> Pixels:
    """Squares of one colour each, `SQUARE` pixels wide where the shorter side has the resolution."""
    height, width = picture.shape[:2]
    scale = values.resolution / min(height, width)
    width, height = checked((round(width * scale), round(height * scale)))
    small = resized(picture, (width, height), cv2.INTER_AREA)
    squares = resized(small, (max(width // SQUARE, 1), max(height // SQUARE, 1)), cv2.INTER_CUBIC)
    return resized(squares, (width, height), cv2.INTER_NEAREST)
