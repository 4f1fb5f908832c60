"""Edges by Canny's method (Canny 1986), through OpenCV."""

from __future__ import annotations

import cv2
import numpy as np

from modules.annotate.preprocessor import Pixels, Values
from modules.annotate.scale import on_blocks, scaled, three_channels


def canny(picture: Pixels, values: Values) -> Pixels:
    """White edges one pixel wide on black. An edge starts where the gradient is above `b` and goes on above `a`."""
    def edges(padded: Pixels) -> Pixels:
        return np.asarray(cv2.Canny(padded, int(values.a), int(values.b)), dtype=np.uint8)

    return three_channels(on_blocks(scaled(picture, values.resolution), edges))
