"""What finds things in a picture. To add a detector, write a function and a line in `DETECTORS`.

A detector takes a picture (RGB) and the extension's settings and returns a box for each find: (left, top, right,
bottom) in pixels, right and bottom exclusive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from modules.errors import InvalidInput

Box = tuple[int, int, int, int]
Detector = Callable[[Image.Image, Mapping[str, Any]], Sequence[Box]]


def haar(picture: Image.Image, settings: Mapping[str, Any], *, cascade: str) -> list[Box]:
    """Finds of one of the Haar cascades that OpenCV brings. Source: Viola and Jones 2001.

    Settings: `neighbours`, how many overlapping hits make a find; `smallest`, percent of the picture's shorter side.
    Raises InvalidInput where OpenCV (5 and later) brings the cascade no more.
    """
    folder = getattr(getattr(cv2, "data", None), "haarcascades", "")
    file = Path(folder, f"haarcascade_{cascade}.xml")
    if not hasattr(cv2, "CascadeClassifier") or not file.is_file():
        raise InvalidInput("This build of OpenCV has no Haar detectors: opencv-python-headless 4.13 has them.")
    side = max(round(min(picture.size) * settings["smallest"] / 100), 1)
    grey = cv2.equalizeHist(np.asarray(picture.convert("L")))
    found = cv2.CascadeClassifier(str(file)).detectMultiScale(grey, 1.1, settings["neighbours"], minSize=(side, side))
    return [(int(x), int(y), int(x + w), int(y + h)) for x, y, w, h in found]


DETECTORS: dict[str, Detector] = {
    "Face": partial(haar, cascade="frontalface_default"),
    "Face in profile": partial(haar, cascade="profileface"),
    "Cat's face": partial(haar, cascade="frontalcatface"),
    "Eye": partial(haar, cascade="eye"),
    "Person": partial(haar, cascade="fullbody"),
}
"""By the name that the Detector dropdown shows; the first is the default."""
