"""Maps of single pixels' values: inverted, and black and white by a threshold."""

from __future__ import annotations

import numpy as np

from modules.annotate.preprocessor import Pixels, Values
from modules.annotate.scale import scaled, three_channels


def invert(picture: Pixels, values: Values) -> Pixels:
    """Dark lines on white become light lines on black, at the picture's own size."""
    return 255 - picture


def threshold(picture: Pixels, values: Values) -> Pixels:
    """White where the smallest of the three colours is above `a`, else black."""
    darkest = scaled(picture, values.resolution).min(axis=2)
    return three_channels(np.where(darkest > values.a, 255, 0).astype(np.uint8))
