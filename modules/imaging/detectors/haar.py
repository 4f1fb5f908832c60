"""OpenCV's Haar cascades as detectors: faces in profile, cats' faces, eyes."""

from __future__ import annotations

import math
from functools import partial

from PIL import Image

from modules.imaging import haar
from modules.imaging.detectors.find import MOST, Detect, Find

PER_HIT = 0.06
"""Of the score, for each of the overlapping hits that make a find: the usual 5 hits are 0.3."""

CASCADES = {"Face in profile": "profileface", "Cat's face": "frontalcatface", "Eye": "eye"}
"""Their names here, and OpenCV's."""


def _detect(picture: Image.Image, least: float, *, cascade: str) -> list[Find]:
    """Raises InvalidInput if OpenCV does not include the cascade."""
    found = haar.detector(cascade, neighbours=max(math.ceil(least / PER_HIT), 1))(picture)
    return [Find(box, least) for box in found[:MOST]]


DETECTORS: dict[str, Detect] = {name: partial(_detect, cascade=cascade) for name, cascade in CASCADES.items()}
"""By name. A find's score is the least that was asked for: a cascade does not tell its hits."""
