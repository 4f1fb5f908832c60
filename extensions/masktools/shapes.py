"""Masks as arrays: grown, shrunk, smoothed, filled, drawn to the edges of the picture, feathered.

A mask is (h, w) uint8, 255 where it is painted. Distances are in pixels. All but `feather` work on whole pixels: a soft
mask counts as painted from 128 on.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]


def hard(mask: Mask) -> Mask:
    """Only 0 and 255."""
    return np.where(mask >= 128, 255, 0).astype(np.uint8)


def disk(radius: int) -> Mask:
    """(2 * radius + 1) pixels square, 1 within `radius` of the middle (Euclidean)."""
    reach = np.arange(-radius, radius + 1)
    return (reach[:, None] ** 2 + reach**2 <= radius**2).astype(np.uint8)


def grow(mask: Mask, radius: int) -> Mask:
    """Painted within `radius` of what was painted."""
    return cv2.dilate(hard(mask), disk(radius))


def shrink(mask: Mask, radius: int) -> Mask:
    """Painted only farther than `radius` from what was not; the picture's border counts as painted outside."""
    return cv2.erode(hard(mask), disk(radius))


def smooth(mask: Mask, radius: int) -> Mask:
    """The majority within `radius` of each pixel: corners are rounded, specks and notches go. Borders are mirrored."""
    kernel = disk(radius)
    share = cv2.filter2D((hard(mask) > 0).astype(np.float32), -1, kernel / np.float32(kernel.sum()),
                         borderType=cv2.BORDER_REFLECT)
    return np.where(share > 0.5, 255, 0).astype(np.uint8)


def fill_holes(mask: Mask) -> Mask:
    """Painted as well what is painted all around: it cannot be left over sides of pixels without crossing the mask."""
    painted = hard(mask)
    around = cv2.copyMakeBorder(painted, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    cv2.floodFill(around, None, (0, 0), 128, flags=4)
    return np.where(around[1:-1, 1:-1] == 128, 0, 255).astype(np.uint8)


def snap(mask: Mask, image: NDArray[np.uint8], reach: int) -> Mask:
    """The outline moved, by `reach` at most, to where the picture has its strongest edges.

    image (h, w, 3). Watershed (Meyer 1994): from what is painted for sure and what is kept for sure both flood the band
    between them, and meet on the edges. Where a region is too thin to be sure of it, its middle is.
    """
    painted = hard(mask)
    if painted.all() or not painted.any():
        return painted
    inside, outside = _core(painted, reach), _core(255 - painted, reach)
    markers = np.where(inside > 0, 1, np.where(outside > 0, 2, 0)).astype(np.int32)
    framed = cv2.copyMakeBorder(markers, 1, 1, 1, 1, cv2.BORDER_REPLICATE)  # watershed spoils the outermost pixels
    seen = cv2.copyMakeBorder(np.ascontiguousarray(image), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    flooded = cv2.watershed(seen, framed)[1:-1, 1:-1]
    # The pixels on which both meet (-1) belong to neither: they stay as they were.
    return np.where(flooded == 1, 255, np.where(flooded == 2, 0, painted)).astype(np.uint8)


def _core(region: Mask, reach: int) -> Mask:
    """What is farther than `reach` from the rest; of parts thinner than that the pixels that are farthest."""
    distance = cv2.distanceTransform(region, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    _, parts = cv2.connectedComponents(region)
    deepest = np.zeros(parts.max() + 1, np.float32)
    np.maximum.at(deepest, parts, distance)
    return np.where((region > 0) & (distance > np.minimum(reach, deepest[parts] - 0.5)), 255, 0).astype(np.uint8)


def feather(mask: Mask, width: int) -> Mask:
    """Soft inwards: from the outline, rising in a straight line to full paint `width` pixels in. Nothing beyond it."""
    distance = cv2.distanceTransform(hard(mask), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.round(np.clip(distance / (width + 1), 0, 1) * 255).astype(np.uint8)
