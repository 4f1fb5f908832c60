"""The brightness of a picture alone, for networks that give it new colours."""

from __future__ import annotations

import cv2
import numpy as np

from modules.annotate.preprocessor import Pixels, Values
from modules.annotate.scale import three_channels


def recolor_luminance(picture: Pixels, values: Values) -> Pixels:
    """L of CIE L*a*b*, with a gamma of `a`."""
    return _with_gamma(cv2.cvtColor(picture, cv2.COLOR_BGR2LAB)[:, :, 0], values.a)


def recolor_intensity(picture: Pixels, values: Values) -> Pixels:
    """V of HSV, the largest of the three colours, with a gamma of `a`."""
    return _with_gamma(cv2.cvtColor(picture, cv2.COLOR_BGR2HSV)[:, :, 2], values.a)


def _with_gamma(grey: cv2.typing.MatLike, gamma: float) -> Pixels:
    # The three channels are taken as blue, green, red although they are red, green, blue: the networks were trained so.
    lifted = (np.asarray(grey, dtype=np.float32) / 255.0) ** gamma * 255.0
    return three_channels(lifted.clip(0, 255).astype(np.uint8))
