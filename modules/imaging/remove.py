"""Remove: the painted part is filled from its surroundings, without a prompt and without a checkpoint.

Spots that lie apart are filled one after the other, each in a crop of its own, so that a speck in a large photograph
takes no time and the search stays where similar pixels are. A large crop is filled at a size that bounds time and
memory; then the detail of the full size is laid in. Pixels outside the mask are not touched.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from PIL import Image

from modules.errors import InvalidInput
from modules.imaging.network_files import Network, NetworkFiles
from modules.imaging.patches import RADIUS, Array, with_detail
from modules.imaging.patchmatch import PatchMatch

AUTOMATIC, PATCHMATCH = "Automatic", "PatchMatch"
SEARCH_PIXELS = 512 * 512
"""The most pixels at which a crop is filled."""
NEAR = 64
"""Parts of the mask are one spot if their distance is at most the picture's longer side divided by this."""
MARGIN = 64
"""The least width of the surroundings in a crop, in pixels; larger spots have 3/4 of their own size around them."""
LEAST_KNOWN = 0.4
"""A crop grows until this share of it is not to be filled."""
PATCH = 2 * RADIUS + 1
"""The side of the smallest whole patch that must be left to fill from."""

Fill = Callable[[Array, Array, int], Array]
"""(picture (h, w, 3) of uint8, hole (h, w) of bool, seed) -> the picture with the hole filled."""
OnSpot = Callable[[int, int, Image.Image], None]
"""Called after each spot with its number, from 1, the number of spots, and the picture so far."""


class Removers(NetworkFiles):
    """What fills: PatchMatch, and the inpainting networks in `folders` (LaMa, MAT). Those take an RGBA picture whose
    transparent part is the hole."""

    def names(self) -> list[str]:
        """The choices of the option `remove_model`."""
        return [AUTOMATIC, PATCHMATCH, *self.files()]

    def full_name(self, name: str) -> str:
        """What `name` means, in any case. Automatic is the first file, and without files PatchMatch. Raises
        InvalidInput."""
        if name.lower() == AUTOMATIC.lower():
            return next(iter(self.files()), PATCHMATCH)
        found = [known for known in self.names() if known.lower() == name.lower()]
        if not found:
            raise InvalidInput(f"There is no model called {name!r} in models/inpaint.", field="remove_model")
        return found[0]

    def remove(self, image: Image.Image, mask: Image.Image, *, name: str = AUTOMATIC, seed: int = 0,
               check: Callable[[], None] = lambda: None,
               on_spot: OnSpot = lambda done, total, image: None) -> Image.Image:
        """RGB or RGBA `image` with the part where L `mask` (same size) is not 0 filled from the rest; what is grey in
        the mask is blended. Transparency stays as it is. `name` says what fills, `seed` makes another attempt.

        Raises InvalidInput for a mask that is empty, of another size, or leaves too little; RemoveFailed,
        CheckpointError, and what `check` and `on_spot` raise.
        """
        check_mask(image, mask)
        picture, paint = np.array(image.convert("RGB")), np.asarray(mask) > 0
        with self._fill(self.full_name(name), check) as fill:
            spots = _spots(paint)
            for number, spot in enumerate(spots, start=1):
                check()
                top, left, bottom, right = box = _around(spot, paint)
                part = np.s_[top:bottom, left:right]
                filled = _filled(picture[part], paint[part], seed, fill, check)
                own = _inside(spot, box)
                picture[part][own] = filled[own]
                paint[part][own] = False
                on_spot(number, len(spots), Image.fromarray(picture))
        filling = Image.fromarray(picture).convert(image.mode)
        if image.mode == "RGBA":
            filling.putalpha(image.getchannel("A"))
        result = image.copy()
        result.paste(filling, mask=mask)
        return result

    @contextlib.contextmanager
    def _fill(self, name: str, check: Callable[[], None]) -> Iterator[Fill]:
        if name == PATCHMATCH:
            with PatchMatch(check) as patchmatch:
                yield patchmatch.fill
        else:
            network = self.network(self.files()[name])
            yield lambda picture, hole, seed: _by_network(network, picture, hole)


def check_mask(image: Image.Image, mask: Image.Image) -> None:
    """Raise InvalidInput for a mask with which nothing can be removed."""
    if mask.size != image.size:
        raise InvalidInput(f"The mask has {mask.width} x {mask.height} pixels and the picture {image.width} x "
                           f"{image.height}: they must have the same size.", field="mask")
    if not mask.getbbox():
        raise InvalidInput("The mask is empty: paint over what is to be removed.", field="mask")
    if not leaves_enough(mask):
        raise InvalidInput("The mask leaves too little of the picture to fill it from.", field="mask")


def leaves_enough(mask: Image.Image) -> bool:
    """Whether a whole patch is free of the L `mask`."""
    kept = (np.asarray(mask) == 0).astype(np.uint8)
    return bool(cv2.erode(kept, np.ones((PATCH, PATCH), np.uint8), borderType=cv2.BORDER_CONSTANT,
                          borderValue=0).any())


Spot = tuple[tuple[int, int, int, int], Array]
"""A box (top, left, bottom, right) and what of it belongs to the spot, (h, w) of bool."""


def _spots(paint: Array) -> list[Spot]:
    """The parts of `paint` that lie apart, the small ones first: they are sources for the others then."""
    reach = max(max(paint.shape) // NEAR, 1)
    joined = cv2.dilate(paint.astype(np.uint8), np.ones((reach, reach), np.uint8))
    count, labels, about, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    found = []
    for label in sorted(range(1, count), key=lambda label: int(about[label, cv2.CC_STAT_AREA])):
        left, top, width, height = (int(number) for number in about[label, :4])
        part = np.s_[top : top + height, left : left + width]
        own = (labels[part] == label) & paint[part]
        x, y, width, height = cv2.boundingRect(own.astype(np.uint8))  # without what joining added
        found.append(((top + y, left + x, top + y + height, left + x + width), own[y : y + height, x : x + width]))
    return found


def _around(spot: Spot, paint: Array) -> tuple[int, int, int, int]:
    """The crop around a spot: (top, left, bottom, right)."""
    (top, left, bottom, right), _ = spot
    height, width = paint.shape
    margin = max(MARGIN, 3 * max(bottom - top, right - left) // 4)
    while True:
        box = max(top - margin, 0), max(left - margin, 0), min(bottom + margin, height), min(right + margin, width)
        known = 1 - paint[box[0] : box[2], box[1] : box[3]].mean()
        if known >= LEAST_KNOWN or box == (0, 0, height, width):
            return box
        margin *= 2


def _inside(spot: Spot, box: tuple[int, int, int, int]) -> Array:
    """What of the crop `box` belongs to the spot."""
    (top, left, bottom, right), own = spot
    inside = np.zeros((box[2] - box[0], box[3] - box[1]), bool)
    inside[top - box[0] : bottom - box[0], left - box[1] : right - box[1]] = own
    return inside


def _filled(picture: Array, hole: Array, seed: int, fill: Fill, check: Callable[[], None]) -> Array:
    """`picture` with its `hole` filled, by way of a smaller picture if it has more than `SEARCH_PIXELS`."""
    height, width = hole.shape
    factor = math.sqrt(SEARCH_PIXELS / (height * width))
    if factor >= 1:
        return fill(picture, hole, seed)
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    # A small pixel belongs to the hole if any of its large ones does: none of the removed thing's colour stays.
    small_hole = cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    return with_detail(picture, hole, fill(small, small_hole, seed), small_hole, check)


def _by_network(network: Network, picture: Array, hole: Array) -> Array:
    holed = np.dstack([picture, np.where(hole, np.uint8(0), np.uint8(255))])
    filled = np.asarray(network(Image.fromarray(holed, "RGBA")))
    return np.where(hole[..., None], filled, picture)
