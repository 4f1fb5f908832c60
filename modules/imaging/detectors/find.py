"""What a detector finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from modules.imaging.resize import Box

MOST = 300
"""No detector returns more finds, the surest."""


@dataclass(frozen=True)
class Find:
    """A box (left, top, right, bottom) in pixels, right and bottom exclusive, inside the picture; how sure the detector
    is, 0 to 1; and the class, where it knows several."""

    box: Box
    score: float
    label: str = ""

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
