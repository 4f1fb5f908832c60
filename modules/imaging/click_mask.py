"""Masks by clicks and boxes without a network: GrabCut (Rother, Kolmogorov, Blake 2004), seeded by places that are
meant, places that are not, and a box around the thing.

Without a box what is cut out lies near the places that are meant: nobody clicks the head to get what is at the other
end of the picture. Where all of it stands in front, what stands behind is left out, and a large candidate takes what
certainly stands in front. The cut is found in a small copy; its edge is then laid along the edges of the picture.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modules.errors import InvalidInput
from modules.imaging.edges import along_edges

SIDE = 256
"""Pixels of the small copy's longer side."""
ROUNDS = 3
"""Of GrabCut."""
REACH, REACH_OF_EXTENT = 0.2, 0.4
"""What is cut out is not farther from the clicks that are meant than this share of the longer side, or of the clicks'
own extent if that is more."""
SIZES = 0.5, 1.0, 2.0
"""What REACH is multiplied by for a small, a middle and a large candidate."""
LARGE = 2
LIKELY, CERTAIN = 0.1, 0.02
"""Shares of the longer side: what is so near to a place probably belongs to it, or certainly."""
MIDDLE, LOWER = (0.36, 0.44), 0.55
"""Where a subject is looked for: half axes of an ellipse, and its centre, as shares of width and height."""
PART = 0.1
"""A part of a subject has at least this share of the largest part's area."""
LEAST_OF_BOX = 0.05
"""Of a box with less than this share cut out, all is taken: what is in it has the colours of what is around."""
BEHIND, FRONT, CERTAIN_FRONT = 0.1, 0.5, 0.9
"""Shares of what stands in front: less than the first is behind, and a place with more than the second is in front."""
MOST_CLICKS = 100

Pixels = NDArray[np.uint8]
Bits = NDArray[np.bool_]
Shares = NDArray[np.float32]
Box = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels of the picture, right and bottom exclusive."""


@dataclass(frozen=True)
class Click:
    """A place in pixels of the picture, and whether it is meant."""

    x: float
    y: float
    meant: bool = True


def checked(clicks: Sequence[Click], box: Box | None, size: tuple[int, int]) -> Sequence[Click]:
    """The clicks. Raises InvalidInput if nothing is meant, a place is outside the picture of `size` (width, height),
    the box is empty, or there are too many."""
    if box is None and not any(one.meant for one in clicks):
        raise InvalidInput("Click what is meant first.", field="clicks")
    if len(clicks) > MOST_CLICKS:
        raise InvalidInput(f"At most {MOST_CLICKS} clicks make one mask.", field="clicks")
    if not all(0 <= one.x < size[0] and 0 <= one.y < size[1] for one in clicks):
        raise InvalidInput("A click lies outside the picture.", field="clicks")
    if box is not None and not (0 <= box[0] < box[2] <= size[0] and 0 <= box[1] < box[3] <= size[1]):
        raise InvalidInput("The box must lie inside the picture.", field="box")
    return clicks


class ClickMasks:
    """Makes masks of one picture. `front` (h, w) is the share of what stands in front, 0 to 1, as
    `modules.imaging.foreground` tells it."""

    def __init__(self, picture: Image.Image, front: Shares | None = None) -> None:
        self._pixels: Pixels = np.asarray(picture.convert("RGB"))
        height, width = self._pixels.shape[:2]
        self._scale = min(SIDE / max(height, width), 1.0)
        size = max(round(width * self._scale), 1), max(round(height * self._scale), 1)
        small = cv2.resize(self._pixels, size, interpolation=cv2.INTER_AREA)
        self._small: Pixels = np.asarray(cv2.bilateralFilter(small, 5, 30, 5), dtype=np.uint8)
        self._front: Shares | None = None if front is None else \
            np.asarray(cv2.resize(front, size, interpolation=cv2.INTER_LINEAR), dtype=np.float32)

    def by_clicks(self, clicks: Sequence[Click], box: Box | None = None, candidate: int | None = None) -> Image.Image:
        """An L mask of the picture's size, 0 or 255: what the clicks mean, inside `box` if there is one. `candidate` 0
        is a small thing, 1 a middle one, 2 a large one; None is the middle. A box needs none. Raises InvalidInput."""
        height, width = self._pixels.shape[:2]
        checked(clicks, box, (width, height))
        if box is None:
            labels = self._near(clicks, SIZES[1 if candidate is None else candidate])
            self._leave_out_behind(labels, clicks, takes_front=candidate == LARGE)
            return self._full(self._cut(self._clicked(labels, clicks), [self._place(one) for one in clicks
                                                                        if one.meant]))
        labels = self._clicked(np.where(self._inside(box), cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8), clicks)
        possible = self._inside(box) & (labels != cv2.GC_BGD)
        cut = _without_specks(self._grabbed(labels)) & possible
        return self._full(cut if cut.sum() >= LEAST_OF_BOX * possible.sum() else possible)

    def in_the_middle(self) -> Image.Image:
        """An L mask of the picture's size, 0 or 255: what is in the middle and differs from the border."""
        height, width = self._small.shape[:2]
        y, x = np.mgrid[:height, :width]
        middle = ((x - width / 2) / (MIDDLE[0] * width)) ** 2 + ((y - height * LOWER) / (MIDDLE[1] * height)) ** 2 < 1
        return self._full(_without_specks(self._grabbed(np.where(middle, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8))))

    def _inside(self, box: Box) -> Bits:
        """Where `box` is in the small copy, at least a pixel of it."""
        height, width = self._small.shape[:2]
        left, top = (min(int(at * self._scale), side - 1) for at, side in zip(box[:2], (width, height), strict=True))
        right, bottom = (max(round(at * self._scale), low + 1)
                         for at, low in zip(box[2:], (left, top), strict=True))
        inside = np.zeros((height, width), np.bool_)
        inside[top:bottom, left:right] = True
        return inside

    def _place(self, click: Click) -> tuple[int, int]:
        """(x, y) in the small copy."""
        height, width = self._small.shape[:2]
        return min(int(click.x * self._scale), width - 1), min(int(click.y * self._scale), height - 1)

    def _near(self, clicks: Sequence[Click], times: float) -> Pixels:
        """GrabCut's labels of what is within `times` the reach of the clicks that are meant, and outside."""
        shape = self._small.shape[:2]
        longest = max(shape)
        meant = np.array([self._place(one) for one in clicks if one.meant], np.int32)
        extent = float(np.ptp(meant, axis=0).max())
        between = np.ones(shape, np.uint8)
        cv2.fillConvexPoly(between, cv2.convexHull(meant), 0)
        labels = np.full(shape, cv2.GC_BGD, np.uint8)
        labels[_distance(between) < times * max(REACH * longest, REACH_OF_EXTENT * extent)] = cv2.GC_PR_FGD
        return labels

    def _leave_out_behind(self, labels: Pixels, clicks: Sequence[Click], *, takes_front: bool) -> None:
        """Label what is behind as what is not meant, if all that is meant stands in front."""
        if self._front is None or not all(self._front[self._place(one)[::-1]] > FRONT for one in clicks if one.meant):
            return
        labels[self._front < BEHIND] = cv2.GC_BGD
        if takes_front:
            labels[(self._front > CERTAIN_FRONT) & (labels == cv2.GC_PR_FGD)] = cv2.GC_FGD

    def _clicked(self, labels: Pixels, clicks: Sequence[Click]) -> Pixels:
        """The labels with those of the clicks and their surroundings."""
        shape, longest = labels.shape, max(labels.shape)
        for one in clicks:
            away = np.ones(shape, np.uint8)
            x, y = self._place(one)
            away[y, x] = 0
            distance = _distance(away)
            likely, certain = (cv2.GC_PR_FGD, cv2.GC_FGD) if one.meant else (cv2.GC_PR_BGD, cv2.GC_BGD)
            labels[(distance < LIKELY * longest) & (labels != cv2.GC_FGD) & (labels != cv2.GC_BGD)] = likely
            labels[distance <= max(CERTAIN * longest, 1)] = certain
        return labels

    def _cut(self, labels: Pixels, places: Sequence[tuple[int, int]]) -> Bits:
        """What GrabCut makes of the labels: the parts with a place in them, without specks."""
        certain = labels == cv2.GC_FGD
        found = self._grabbed(labels)
        opened = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        opened[certain] = 1
        _, parts = cv2.connectedComponents(opened)
        kept = {int(parts[y, x]) for x, y in places} - {0}
        return np.isin(parts, list(kept))

    def _grabbed(self, labels: Pixels) -> Bits:
        if not ((labels == cv2.GC_BGD) | (labels == cv2.GC_PR_BGD)).any():
            return np.ones(labels.shape, np.bool_)
        cv2.setRNGSeed(0)  # its k-means draws
        background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
        with contextlib.suppress(cv2.error):  # of a picture of a few pixels
            cv2.grabCut(self._small, labels, (0, 0, 1, 1), background, foreground, ROUNDS, cv2.GC_INIT_WITH_MASK)
        return np.asarray((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD))

    def _full(self, cut: Bits) -> Image.Image:
        """A cut of the small copy as a mask of the picture's size."""
        full = along_edges(cut.astype(np.float32), self._pixels)
        return Image.fromarray(np.where(full > 0.5, 255, 0).astype(np.uint8))


def _without_specks(found: Bits) -> Bits:
    """The parts of what was found that are not much smaller than the largest one."""
    opened = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, parts, about, _ = cv2.connectedComponentsWithStats(opened)
    sizes = about[1:, cv2.CC_STAT_AREA]
    large = [number for number, size in enumerate(sizes, start=1) if size >= PART * sizes.max()]
    return np.isin(parts, large)


def _distance(apart: Pixels) -> NDArray[np.float32]:
    """The distance of each pixel to the nearest 0."""
    return np.asarray(cv2.distanceTransform(apart, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), dtype=np.float32)
