"""Object detection with the Haar cascades that OpenCV 4 includes. Source: Viola and Jones 2001."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from modules.errors import InvalidInput
from modules.imaging.resize import Box

Detector = Callable[[Image.Image], list[Box]]


def detector(cascade: str, *, neighbours: int = 5, smallest: float = 5) -> Detector:
    """Return a detector for RGB pictures with that cascade ("frontalface_default").

    `neighbours` is the number of overlapping hits that make a detection. `smallest` is the smallest object, in percent
    of the picture's shorter side. Raises InvalidInput if OpenCV does not include the cascade (version 5 and later).
    """
    folder = getattr(getattr(cv2, "data", None), "haarcascades", "")
    file = Path(folder, f"haarcascade_{cascade}.xml")
    if not hasattr(cv2, "CascadeClassifier") or not file.is_file():
        raise InvalidInput("This build of OpenCV has no Haar detectors: opencv-python-headless 4.13 has them.")
    classifier = cv2.CascadeClassifier(str(file))

    def find(picture: Image.Image) -> list[Box]:
        side = max(round(min(picture.size) * smallest / 100), 1)
        grey = cv2.equalizeHist(np.asarray(picture.convert("L")))
        found = classifier.detectMultiScale(grey, 1.1, neighbours, minSize=(side, side))
        return [(int(x), int(y), int(x + w), int(y + h)) for x, y, w, h in found]

    return find
