"""Hands, by two networks of MediaPipe (Zhang et al. 2020): one finds palms in squares of the picture, the other looks
at each, tells the points of a hand, and refuses what is none.

The network for palms reads (192, 192) and answers for 2016 anchors: two for each of 24 x 24 cells, six for each of
12 x 12. An anchor has a score, as logit, and 18 numbers in pixels, seen from the cell's middle: the palm's middle, its
size, and seven points, of which the first is the wrist and the third the root of the middle finger.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np
from PIL import Image

from modules.imaging import included
from modules.imaging.detectors.find import CANDIDATES, MOST, Detect, Find, clipped
from modules.imaging.landmarks import (
    AROUND_HAND,
    Array,
    Pixels,
    Square,
    TfliteNetwork,
    follow_hand,
    landmark_network,
    upright_square,
)

SIDE = 192
CELLS = ((24, 2), (12, 6))
"""Cells of a side, and anchors of a cell."""
PARTS = (1, 2, 3)
"""The picture's longer side is so many squares: palms are found that are at least a tenth of one."""
SMALLEST = 64
"""Pixels of a square's side, if it is not the whole picture."""
APART = 0.75
"""Squares of a size are not farther from each other than this share of their side."""
LEAST = 0.2
"""The score of a palm that is looked at as a hand."""
MOST_PALMS = 100
WRIST, FINGER = 2, 4
"""Of an anchor's points: middle and size come first."""
FORWARD = 0.5
"""From the palm's middle to the hand's, towards the fingers, in palms."""
AROUND = 0.15
"""A hand's box is wider than its points by this share of its longer side: they lie inside the fingers."""
SAME_PALM = 0.5
"""Of two palms whose overlap (intersection over union) is larger, the surer stays."""
OVERLAP = 0.6
"""Of two hands that share more of the smaller one's box, the surer stays: hands may lie on each other."""


def hands() -> Detect:
    """The detector with the included networks. A find's score is how sure the looks at it are, together."""
    palms, hand = TfliteNetwork(included.PALMS, ("Identity", "Identity_1")), landmark_network(included.HANDS, 3)

    def detect(picture: Image.Image, least: float) -> list[Find]:
        pixels = np.asarray(picture.convert("RGB"))
        seen = [one for one in (follow_hand(pixels, square, hand) for square in _palms(pixels, palms))
                if one is not None and one[1] >= least]
        found: list[Find] = []
        taken: list[Array] = []
        for points, sure in sorted(seen, key=lambda one: -one[1]):
            corners = np.concatenate([points.min(axis=0), points.max(axis=0)])
            low, high = corners[:2], corners[2:]
            edge = AROUND * float((high - low).max())
            box = clipped((*(low - edge), *(high + edge)), picture.size)
            if box and not any(_shared(corners, other) > OVERLAP for other in taken):
                found.append(Find(box, sure, "hand"))
                taken.append(corners)
        return found[:MOST]

    return detect


def _shared(one: Array, other: Array) -> float:
    """How much of the smaller of two boxes (left, top, right, bottom) lies in the other, 0 to 1."""
    sides = (np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])).clip(0)
    return float(sides.prod() / max(min((box[2:] - box[:2]).prod() for box in (one, other)), 1e-6))


def _squares(width: int, height: int) -> Iterator[Square]:
    """Squares of each size that cover a picture."""
    for parts in PARTS:
        side = max(width, height) / parts
        if parts > 1 and side < SMALLEST:
            return
        steps = [max(math.ceil((whole - side) / (APART * side) - 1e-9), 0) for whole in (width, height)]
        for row in range(steps[1] + 1):
            for column in range(steps[0] + 1):
                x, y = (side / 2 + at * (whole - side) / many if many else whole / 2
                        for at, many, whole in zip((column, row), steps, (width, height), strict=True))
                yield Square(x, y, side)


def _palms(picture: Pixels, network: TfliteNetwork) -> list[Square]:
    """The squares around hands where the network sees palms, the surest first, each thing once."""
    middles = np.concatenate([
        np.repeat(np.stack(np.meshgrid(np.arange(cells), np.arange(cells)), axis=-1).reshape(-1, 2) + 0.5, many, axis=0)
        * SIDE / cells for cells, many in CELLS])
    scores: list[float] = []
    corners: list[tuple[float, ...]] = []
    squares: list[Square] = []
    for square in _squares(picture.shape[1], picture.shape[0]):
        small, back = _shrunk(picture, square)
        anchors, logits = network(small)
        sure = 1 / (1 + np.exp(-logits[0, :, 0].clip(-30, 30)))
        for k in np.nonzero(sure >= LEAST)[0]:
            middle, size, *points = anchors[0, k].reshape(9, 2)
            scale = float(back[0, 0])
            at = np.asarray((middle + middles[k]) @ back[:, :2].T + back[:, 2], np.float32)
            size = size * scale
            ahead = points[FINGER - 2] - points[WRIST - 2]
            long = float(size.max())
            if not (np.isfinite(at).all() and 1 <= long < 2 * max(picture.shape) and np.hypot(*ahead) > 0):
                continue
            scores.append(float(sure[k]))
            corners.append((*(at - size / 2), *size))
            squares.append(upright_square(np.zeros(2, np.float32), ahead, AROUND_HAND * long,
                                          np.asarray(at + FORWARD * long * ahead / np.hypot(*ahead), np.float32)))
    kept = cv2.dnn.NMSBoxes([[float(one) for one in box] for box in corners], scores, 0.0, SAME_PALM, top_k=CANDIDATES)
    return [squares[k] for k in np.asarray(kept, dtype=int).reshape(-1)[:MOST_PALMS]]


def _shrunk(picture: Pixels, square: Square) -> tuple[Pixels, Array]:
    """A square of the picture as the network reads it, and the matrix (2, 3) that brings its points back."""
    if square.side <= 2 * SIDE:
        return square.cut(picture, SIDE)
    # Pixels are joined where many of them make one.
    left, top = square.x - square.side / 2, square.y - square.side / 2
    x, y = max(round(left), 0), max(round(top), 0)
    part = picture[y : max(round(top + square.side), 1), x : max(round(left + square.side), 1)]
    scale = SIDE / square.side
    small = np.zeros((SIDE, SIDE, 3), np.uint8)
    size = tuple(min(max(round(whole * scale), 1), SIDE) for whole in part.shape[1::-1])
    at = [min(max(round((here - start) * scale), 0), SIDE - side)
          for here, start, side in zip((x, y), (left, top), size, strict=True)]
    small[at[1] : at[1] + size[1], at[0] : at[0] + size[0]] = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    return small, np.array([[1 / scale, 0, left], [0, 1 / scale, top]], np.float32)
