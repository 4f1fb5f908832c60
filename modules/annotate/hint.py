"""Resizing a map to the size of the hint, so that thin lines stay thin and few colours stay few."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from modules.annotate.preprocessor import Pixels
from modules.annotate.scale import checked

Map = npt.NDArray[Any]
"""(H, W, 3), or (H, W, 4) with a mask as fourth channel; uint8 or float32, values 0 to 255."""
Size = tuple[int, int]
FEW_COLOURS = 200
ROUNDS = 32
"""More rounds of thinning are not done; each takes a pixel from both sides of a line."""
THIN = ([[-1, -1, -1], [0, 1, 0], [1, 1, 1]], [[0, -1, -1], [1, 1, -1], [0, 1, 0]])
SPURS = ([[-1, -1, -1], [-1, 1, -1], [0, 0, -1]], [[-1, -1, -1], [-1, 1, -1], [-1, 0, 0]])
"""Patterns of the hit-or-miss transform: 1 is set, -1 is not set, 0 is either."""


class Fit(IntEnum):
    """How a map is brought to another shape; the numbers are those of img2img's Resize mode."""

    JUST_RESIZE = 0
    CROP_AND_RESIZE = 1
    RESIZE_AND_FILL = 2


def hint_size(size: Size) -> Size:
    """The (width, height) of the hint of a picture of `size`: multiples of 8, as in the latent."""
    return size[0] // 8 * 8, size[1] // 8 * 8


def fitted(control_map: Map, size: Size, fit: Fit) -> Map:
    """`control_map` at `size` (width, height), in its own type.

    CROP_AND_RESIZE covers the size and crops the middle. RESIZE_AND_FILL lies in the middle of a background with the
    median colour of the map's border; the mask of a fourth channel is 255 there. Raises InvalidInput for a map so long
    that covering the size would fill the memory.
    """
    height, width = control_map.shape[:2]
    if fit == Fit.JUST_RESIZE:
        return resized(control_map, size)
    scale = (max if fit == Fit.CROP_AND_RESIZE else min)(size[0] / width, size[1] / height)
    new = checked((round(width * scale), round(height * scale)))
    small = resized(control_map, new)
    left, top = abs(new[0] - size[0]) // 2, abs(new[1] - size[1]) // 2
    if fit == Fit.CROP_AND_RESIZE:
        return small[top:top + size[1], left:left + size[0]]
    result = np.empty((size[1], size[0], control_map.shape[2]), control_map.dtype)
    result[:] = _border_colour(control_map)
    result[top:top + new[1], left:left + new[0]] = small
    return result


def resized(control_map: Map, size: Size) -> Map:
    """`control_map` stretched to `size` (width, height).

    A map of few colours (segments) keeps them. Black and white stay black and white, and lines of one pixel are thinned
    to one pixel again. The mask of a fourth channel becomes 0 or 255.
    """
    colours, mask = control_map[:, :, :3], control_map[:, :, 3:]
    height, width = control_map.shape[:2]
    if (width, height) != size:
        count = _colours(colours)
        binary = count == 2 and colours.min() < 16 and colours.max() > 240
        thin = binary and _is_thin(colours)
        larger = size[0] * size[1] > width * height
        smaller = size[0] * size[1] < width * height
        interpolation = cv2.INTER_NEAREST if 2 < count < FEW_COLOURS else (
            cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
        colours = np.asarray(cv2.resize(colours, size, interpolation=interpolation))
        if mask.shape[2]:
            mask = np.asarray(cv2.resize(mask, size, interpolation=interpolation))[:, :, None]
        if binary:
            colours = _black_and_white(colours, thin, larger).astype(control_map.dtype)
    if not mask.shape[2]:
        return colours
    return np.concatenate([colours, np.where(mask > 127, 255, 0).astype(control_map.dtype)], axis=2)


def shown(control_map: Map) -> Pixels:
    """A map as the picture that people see, (H, W, C) in 8 bits. A mask makes it half transparent."""
    pixels = control_map.clip(0, 255).astype(np.uint8)
    return np.concatenate([pixels[:, :, :3], 255 - pixels[:, :, 3:] // 2], axis=2)


def _colours(colours: Map) -> int:
    red, green, blue = (colours[:, :, channel].astype(np.uint32) for channel in range(3))
    return len(np.unique((red << 16) + (green << 8) + blue))


def _is_thin(colours: Map) -> bool:
    """Whether an opening with 3 x 3 pixels takes away more than half of what is white."""
    square = np.ones((3, 3), np.uint8)
    opened = np.asarray(cv2.dilate(cv2.erode(colours, square), square))
    return bool(2 * (opened < colours).sum() > (colours > 127).sum())


def _black_and_white(colours: Map, thin: bool, larger: bool) -> npt.NDArray[np.uint8]:
    grey = colours.astype(np.float32).mean(axis=2).clip(0, 255).astype(np.uint8)
    peaks = np.where(is_ridge(grey), grey, 0).astype(np.uint8) if thin else grey
    _, white = cv2.threshold(peaks, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    lines = np.asarray(white, dtype=np.uint8)
    if thin:
        lines = _thinned(lines, spurs=larger)
    return np.repeat(lines[:, :, None], 3, axis=2)


def is_ridge(grey: Map) -> npt.NDArray[np.bool_]:
    """Where the values of (H, W) are the largest of three along a row, a column or a diagonal."""
    diagonal = np.eye(3, dtype=np.uint8)
    row, column = np.zeros((3, 3), np.uint8), np.zeros((3, 3), np.uint8)
    row[1], column[:, 1] = 1, 1
    highest = np.zeros(grey.shape, bool)
    for line in (row, column, diagonal, np.fliplr(diagonal).copy()):
        highest |= np.asarray(cv2.dilate(grey, line)) == grey
    return highest


def _thinned(lines: npt.NDArray[np.uint8], *, spurs: bool) -> npt.NDArray[np.uint8]:
    """Lines of one pixel. `spurs` shortens the ends that an enlarged line has beside its course."""
    for _ in range(ROUNDS):
        before = lines
        lines = _without(lines, THIN)
        if np.array_equal(lines, before):
            break
    return _without(lines, SPURS) if spurs else lines


def _without(lines: npt.NDArray[np.uint8], patterns: tuple[list[list[int]], ...]) -> npt.NDArray[np.uint8]:
    """One round: the centre of each place that fits a pattern, in one of four turns, is removed."""
    for turns in range(4):
        for pattern in patterns:
            kernel = np.ascontiguousarray(np.rot90(np.array(pattern, np.int8), turns))
            hits = np.asarray(cv2.morphologyEx(lines, cv2.MORPH_HITMISS, kernel))
            lines = np.where(hits > 127, 0, lines).astype(np.uint8)
    return lines


def _border_colour(control_map: Map) -> Map:
    border = np.concatenate([control_map[0], control_map[-1], control_map[:, 0], control_map[:, -1]])
    colour: Map = np.median(border, axis=0).astype(control_map.dtype)
    colour[3:] = 255
    return colour
