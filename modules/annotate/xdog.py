"""Scribbles from a photograph, by a difference of Gaussians (Winnemoeller et al. 2012, XDoG)."""

from __future__ import annotations

import cv2
import numpy as np

from modules.annotate.preprocessor import Pixels, Values
from modules.annotate.scale import on_blocks, scaled, three_channels

NARROW, WIDE = 0.5, 5.0
"""Standard deviations of the two blurs, in pixels."""


def scribble_xdog(picture: Pixels, values: Values) -> Pixels:
    """White strokes on black where the picture is darker than what is around it, by more than `a` / 2 levels."""
    def strokes(padded: Pixels) -> Pixels:
        levels = padded.astype(np.float32)
        narrow, wide = (np.asarray(cv2.GaussianBlur(levels, (0, 0), sigma)) for sigma in (NARROW, WIDE))
        paper = (255 - (wide - narrow).min(axis=2)).clip(0, 255).astype(np.uint8)
        doubled = 2 * (255 - paper)  # 8 bits: a difference of 128 levels or more wraps, as in the recorded maps
        return np.where(doubled > values.a, 255, 0).astype(np.uint8)

    return three_channels(on_blocks(scaled(picture, values.resolution), strokes))
