"""What both outpainting scripts share: how far a picture grows to each side, and its new frame."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from PIL import Image, ImageDraw

from modules.errors import InvalidInput
from modules.scripts.context import check_size

DIRECTIONS = ("left", "right", "up", "down")
Size = tuple[int, int]


@dataclass(frozen=True)
class Growth:
    """Pixels that are added at each side."""

    left: int = 0
    right: int = 0
    up: int = 0
    down: int = 0

    def size(self, old: Size) -> Size:
        """The grown picture's (width, height)."""
        return old[0] + self.left + self.right, old[1] + self.up + self.down

    def mask(self, old: Size, inset: int) -> Image.Image:
        """An L mask of the new part, white, and of `inset` pixels of the old one behind each side that grows.

        The kept part loses one more pixel on the right and below: WebUI's rectangles include their ends.
        """
        width, height = self.size(old)
        mask = Image.new("L", (width, height), 255)
        box = (self.left + (inset if self.left else 0), self.up + (inset if self.up else 0),
               width - self.right - (inset if self.right else 0), height - self.down - (inset if self.down else 0))
        if box[0] <= box[2] and box[1] <= box[3]:
            ImageDraw.Draw(mask).rectangle(box, fill=0)
        return mask

    def frame(self, image: Image.Image) -> Image.Image:
        """`image` in its place on a larger black picture."""
        larger = Image.new("RGB", self.size(image.size))
        larger.paste(image, (self.left, self.up))
        return larger


def growth(size: Size, pixels: int, directions: Collection[str]) -> Growth:
    """At least `pixels` in each of `directions`, so that both sides become multiples of 64.

    Raises InvalidInput for no direction, no pixels, or too large a picture.
    """
    if not directions or pixels < 1:
        raise InvalidInput("Choose at least one direction, and by how many pixels the picture grows.",
                           field="script_args")
    left, right, up, down = (pixels if name in directions else 0 for name in DIRECTIONS)
    width, height = (-(-(length + more) // 64) * 64 for length, more in zip(size, (left + right, up + down),
                                                                             strict=True))
    check_size(width, height)
    if left:
        left = left * (width - size[0]) // (left + right)
    if right:
        right = width - size[0] - left
    if up:
        up = up * (height - size[1]) // (up + down)
    if down:
        down = height - size[1] - up
    return Growth(left, right, up, down)
