"""What finds things in a picture. To add a detector, write a function and a line in `DETECTORS`.

A detector takes a picture (RGB) and the extension's settings and returns a box for each find: (left, top, right,
bottom) in pixels, right and bottom exclusive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from PIL import Image

from modules.imaging.haar import detector
from modules.imaging.resize import Box

Detector = Callable[[Image.Image, Mapping[str, Any]], Sequence[Box]]


def haar(picture: Image.Image, settings: Mapping[str, Any], *, cascade: str) -> list[Box]:
    """Finds of one of OpenCV's Haar cascades. The settings are those of `modules.imaging.haar.detector`. Raises
    InvalidInput where OpenCV has none."""
    return detector(cascade, neighbours=settings["neighbours"], smallest=settings["smallest"])(picture)


DETECTORS: dict[str, Detector] = {
    "Face": partial(haar, cascade="frontalface_default"),
    "Face in profile": partial(haar, cascade="profileface"),
    "Cat's face": partial(haar, cascade="frontalcatface"),
    "Eye": partial(haar, cascade="eye"),
    "Person": partial(haar, cascade="fullbody"),
}
"""By the name that the Detector dropdown shows; the first is the default."""
