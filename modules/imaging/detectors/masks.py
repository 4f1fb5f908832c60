"""From finds to masks: which are taken, in which order, and what of the picture each covers."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageChops, ImageOps

from modules.imaging.detectors.find import Find
from modules.request.detail import MERGED_AND_INVERTED, NOT_MERGED, DetailPass
from modules.request.options import AS_FOUND, BY_AREA, FROM_CENTRE, LEFT_TO_RIGHT

Size = tuple[int, int]


def chosen(finds: Sequence[Find], asked: DetailPass, size: Size, order: str) -> list[Find]:
    """Those of the finds in a picture of `size` (width, height) that a pass takes, in one of the orders of the option
    `ad_bbox_sortby`. Of equal ones the order is that of the detector."""
    wanted = {name.strip().lower() for name in asked.model_classes.split(",")} - {""}
    low, high = (share * size[0] * size[1] for share in (asked.mask_min_ratio, asked.mask_max_ratio))
    taken = [one for one in finds if one.score >= asked.confidence and low <= one.area <= high
             and (not wanted or one.label.lower() in wanted)]
    if asked.mask_k_largest:
        largest = sorted(taken, key=lambda one: -one.area)[: asked.mask_k_largest]
        taken = [one for one in taken if one in largest]
    return sorted(taken, key=lambda one: _place(one, size, order))


def _place(one: Find, size: Size, order: str) -> float:
    left, top, right, bottom = one.box
    places = {AS_FOUND: 0.0, LEFT_TO_RIGHT: left, BY_AREA: -one.area,
              FROM_CENTRE: np.hypot((left + right - size[0]) / 2, (top + bottom - size[1]) / 2)}
    return float(places[order])


def masks_of(finds: Sequence[Find], asked: DetailPass, size: Size) -> list[Image.Image]:
    """The L masks of the finds, each of the picture's `size`, 255 where it is painted anew; or one for all if they are
    merged. Those of which nothing is left are left out."""
    masks = [mask for mask in (_mask(one, asked, size) for one in finds) if mask.getbbox()]
    if asked.mask_merge_invert == NOT_MERGED or not masks:
        return masks
    merged = masks[0]
    for mask in masks[1:]:
        merged = ImageChops.lighter(merged, mask)
    if asked.mask_merge_invert == MERGED_AND_INVERTED:
        merged = ImageOps.invert(merged)
    return [merged] if merged.getbbox() else []


def _mask(one: Find, asked: DetailPass, size: Size) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(one.shape(size), (one.box[0] + asked.x_offset, one.box[1] - asked.y_offset))
    if asked.dilate_erode == 0:
        return mask
    change = cv2.dilate if asked.dilate_erode > 0 else cv2.erode
    side = abs(asked.dilate_erode)
    return Image.fromarray(np.asarray(change(np.asarray(mask), np.ones((side, side), np.uint8), borderValue=0)))
