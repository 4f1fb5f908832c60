"""The picture's colours and textures in random places, for control by style alone."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from modules.annotate.preprocessor import Pixels, Values
from modules.annotate.scale import scaled

COARSE = 256
"""Pixels between the random numbers that the displacement is interpolated from."""


def shuffle(picture: Pixels, values: Values) -> Pixels:
    """`picture`, each pixel of it taken from a place that a smooth random field names."""
    picture = scaled(picture, values.resolution)
    height, width = picture.shape[:2]
    random = np.random.RandomState(values.seed)
    x, y = (_field(random, height, width) * (length - 1) for length in (width, height))
    return np.asarray(cv2.remap(picture, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR), dtype=np.uint8)


def _field(random: np.random.RandomState, height: int, width: int) -> npt.NDArray[np.float64]:
    """(height, width), 0 to 1."""
    coarse = random.uniform(0, 1, (height // COARSE + 2, width // COARSE + 2))
    fine = np.asarray(cv2.resize(coarse, (width + 2 * COARSE, height + 2 * COARSE), interpolation=cv2.INTER_CUBIC))
    field = fine[COARSE:COARSE + height, COARSE:COARSE + width]
    spread = field - field.min()
    return np.asarray(spread / max(spread.max(), np.finfo(np.float64).tiny))
