"""Operations on masks: grow, shrink, smooth, fill holes, snap to the picture's edges, feather.

A mask is (h, w) uint8, 255 where it is painted. Distances are in pixels. A pixel of a soft mask counts as painted from
128 on. All results except that of `feather` have only the values 0 and 255.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]


def hard(mask: Mask) -> Mask:
    """`mask` thresholded to 0 and 255."""
    return np.where(mask >= 128, 255, 0).astype(np.uint8)


def disk(radius: int) -> Mask:
    """A square of 2 * radius + 1 pixels a side: 1 within `radius` of the centre (Euclidean), 0 outside."""
    reach = np.arange(-radius, radius + 1)
    return (reach[:, None] ** 2 + reach**2 <= radius**2).astype(np.uint8)


def grow(mask: Mask, radius: int) -> Mask:
    """Paint every pixel within `radius` of a painted one (dilation)."""
    return cv2.dilate(hard(mask), disk(radius))


def shrink(mask: Mask, radius: int) -> Mask:
    """Keep only painted pixels farther than `radius` from unpainted ones (erosion). Outside the picture counts as
    painted."""
    return cv2.erode(hard(mask), disk(radius))


def smooth(mask: Mask, radius: int) -> Mask:
    """Set each pixel to the majority within `radius`. This rounds corners and removes specks and notches. Borders are
    mirrored."""
    kernel = disk(radius)
    share = cv2.filter2D((hard(mask) > 0).astype(np.float32), -1, kernel / np.float32(kernel.sum()),
                         borderType=cv2.BORDER_REFLECT)
    return np.where(share > 0.5, 255, 0).astype(np.uint8)


def fill_holes(mask: Mask) -> Mask:
    """Paint the regions enclosed by the mask: those with no 4-connected path to the border that avoids it."""
    painted = hard(mask)
    around = cv2.copyMakeBorder(painted, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    cv2.floodFill(around, None, (0, 0), 128, flags=4)
    return np.where(around[1:-1, 1:-1] == 128, 0, 255).astype(np.uint8)


def snap(mask: Mask, image: NDArray[np.uint8], reach: int) -> Mask:
    """Move the outline, by at most `reach`, to the strongest edges of `image` (h, w, 3).

    This is a watershed (Meyer 1994). The core of the painted region and the core of the rest, both farther than `reach`
    from the outline, flood the band between them and meet on the edges. The core of a thinner region is its middle.
    """
    painted = hard(mask)
    if painted.all() or not painted.any():
        return painted
    inside, outside = _core(painted, reach), _core(255 - painted, reach)
    markers = np.where(inside > 0, 1, np.where(outside > 0, 2, 0)).astype(np.int32)
    framed = cv2.copyMakeBorder(markers, 1, 1, 1, 1, cv2.BORDER_REPLICATE)  # watershed overwrites the outermost pixels
    seen = cv2.copyMakeBorder(np.ascontiguousarray(image), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    flooded = cv2.watershed(seen, framed)[1:-1, 1:-1]
    # Pixels on the watershed line (-1) belong to neither region and stay as they were.
    return np.where(flooded == 1, 255, np.where(flooded == 2, 0, painted)).astype(np.uint8)


def _core(region: Mask, reach: int) -> Mask:
    """The pixels farther than `reach` from the outside; for connected parts thinner than that, the deepest pixels."""
    distance = cv2.distanceTransform(region, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    _, parts = cv2.connectedComponents(region)
    deepest = np.zeros(parts.max() + 1, np.float32)
    np.maximum.at(deepest, parts, distance)
    return np.where((region > 0) & (distance > np.minimum(reach, deepest[parts] - 0.5)), 255, 0).astype(np.uint8)


def feather(mask: Mask, width: int) -> Mask:
    """Soften the mask inwards: paint rises linearly from the outline to its full value `width` pixels inside."""
    distance = cv2.distanceTransform(hard(mask), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.round(np.clip(distance / (width + 1), 0, 1) * 255).astype(np.uint8)
