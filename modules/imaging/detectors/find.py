"""What a detector finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from modules.imaging.resize import Box

MOST = 300
"""No detector returns more finds, the surest."""
CANDIDATES = 5000
"""At most so many finds are compared with each other, the surest."""


@dataclass(frozen=True)
class Find:
    """A box (left, top, right, bottom) in pixels, right and bottom exclusive, inside the picture; how sure the detector
    is, 0 to 1; the class, where it knows several; and of a detector that outlines too, an L picture of the whole
    picture, smaller, in which the thing is more than 127."""

    box: Box
    score: float
    label: str = ""
    outline: Image.Image | None = None

    def shape(self, size: tuple[int, int]) -> Image.Image:
        """An L mask of the box's size, 255 where the thing is, in a picture of `size` (width, height)."""
        left, top, right, bottom = self.box
        if self.outline is None:
            return Image.new("L", (right - left, bottom - top), 255)
        full = self.outline.resize(size, Image.Resampling.BILINEAR).crop(self.box)
        return full.point(lambda value: 255 if value > 127 else 0)

    @property
    def area(self) -> int:
        """In square pixels."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)


Detect = Callable[[Image.Image, float], list[Find]]
"""(RGB picture, least score) -> the finds with at least that, at most `MOST`. Raises CheckpointError."""


def clipped(box: tuple[float, float, float, float], size: tuple[int, int]) -> Box | None:
    """The box in whole pixels and inside a picture of `size` (width, height). None if nothing of it is."""
    left, top = max(round(box[0]), 0), max(round(box[1]), 0)
    right, bottom = min(round(box[2]), size[0]), min(round(box[3]), size[1])
    return (left, top, right, bottom) if left < right and top < bottom else None
