"""Persons: the parts of what stands in front. Those who touch are one; a large animal counts too."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from modules.imaging.detectors.find import MOST, Detect, Find, clipped
from modules.imaging.foreground import Foreground

SMALLEST = 0.002
"""Of the picture's area."""


def persons() -> Detect:
    """The detector with the included network. A find's score is the mean share of its pixels."""
    foreground = Foreground()

    def detect(picture: Image.Image, least: float) -> list[Find]:
        shares = foreground(picture)
        count, parts, about, _ = cv2.connectedComponentsWithStats((shares > 0.5).astype(np.uint8))
        across, down = picture.width / shares.shape[1], picture.height / shares.shape[0]
        found = []
        for part in range(1, count):
            left, top, width, height, area = (int(one) for one in about[part])
            score = float(shares[parts == part].mean())
            box = clipped((left * across, top * down, (left + width) * across, (top + height) * down), picture.size)
            if box and score >= least and area >= SMALLEST * shares.size:
                outline = np.where(parts == part, shares * 255, 0).astype(np.uint8)
                found.append(Find(box, score, "person", Image.fromarray(outline)))
        return sorted(found, key=lambda one: -one.score)[:MOST]

    return detect
