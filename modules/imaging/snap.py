"""A mask's outline along the edges of the picture: GrabCut (Rother, Kolmogorov, Blake 2004) in a band around it."""

from __future__ import annotations

import contextlib

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modules.imaging.edges import along_edges

SIDE = 512
"""Pixels of the longer side of the copy in which it is cut."""
AROUND = 3
"""So many bands around the mask are looked at."""
ROUNDS = 3

Bits = NDArray[np.bool_]


def snapped(picture: Image.Image, mask: Image.Image, band: float) -> Image.Image:
    """The L `mask`, of the picture's size, with its outline where the picture has an edge; 0 or 255. What is farther
    than `band` pixels from its outline stays, as does a part of which nothing is left."""
    painted = np.asarray(mask) > 127
    if not painted.any() or painted.all():
        return Image.fromarray(np.where(painted, 255, 0).astype(np.uint8))
    x, y, width, height = cv2.boundingRect(painted.astype(np.uint8))
    edge = round(AROUND * band)
    rows, columns = (slice(max(at - edge, 0), at + side + edge) for at, side in ((y, height), (x, width)))
    part = np.asarray(picture.convert("RGB"))[rows, columns]
    cut = _cut(part, painted[rows, columns], band)
    whole = np.zeros(painted.shape, np.uint8)
    whole[rows, columns] = np.where(cut, 255, 0)
    return Image.fromarray(whole)


def _cut(picture: NDArray[np.uint8], painted: Bits, band: float) -> Bits:
    height, width = painted.shape
    scale = min(SIDE / max(height, width), 1.0)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
    inside = cv2.resize(painted.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA) > 127
    reach = max(band * scale, 1.5)
    deep, far = _depth(inside) > reach, _depth(~inside) > reach
    labels = np.where(inside, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[deep], labels[far] = cv2.GC_FGD, cv2.GC_BGD
    cv2.setRNGSeed(0)  # its k-means draws
    with contextlib.suppress(cv2.error):  # of a picture of a few pixels
        cv2.grabCut(small, labels, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    _, parts = cv2.connectedComponents(inside.astype(np.uint8))
    kept = np.unique(parts[found])
    found |= inside & ~np.isin(parts, kept)
    return np.asarray(along_edges(found.astype(np.float32), np.ascontiguousarray(picture)) > 0.5)


def _depth(inside: Bits) -> NDArray[np.float32]:
    """How far each pixel is from what is not `inside`; that nothing lies beyond the border counts for nothing."""
    return np.asarray(cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)
