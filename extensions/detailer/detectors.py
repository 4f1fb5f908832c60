"""Detectors of objects in a picture. To add one, write a function and add it to `DETECTORS`.

A detector takes an RGB picture and the extension's settings. It returns a box for each object found: (left, top, right,
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
    """Detect with one of OpenCV's Haar cascades. `settings` are those of `modules.imaging.haar.detector`. Raises
    InvalidInput if OpenCV has no such cascade."""
    return detector(cascade, neighbours=settings["neighbours"], smallest=settings["smallest"])(picture)


DETECTORS: dict[str, Detector] = {
    "Face": partial(haar, cascade="frontalface_default"),
    "Face in profile": partial(haar, cascade="profileface"),
    "Cat's face": partial(haar, cascade="frontalcatface"),
    "Eye": partial(haar, cascade="eye"),
    "Person": partial(haar, cascade="fullbody"),
}
"""The detectors by the name in the Detector dropdown. The first is the default."""
