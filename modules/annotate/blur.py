"""The picture, blurred."""

from __future__ import annotations

import cv2
import numpy as np

from modules.annotate.preprocessor import Pixels, Values
from modules.annotate.scale import scaled


def blur_gaussian(picture: Pixels, values: Values) -> Pixels:
    """A Gaussian blur with a standard deviation of `a` pixels of the scaled picture."""
    return np.asarray(cv2.GaussianBlur(scaled(picture, values.resolution), (0, 0), values.a), dtype=np.uint8)
