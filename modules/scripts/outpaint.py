"""What both outpainting scripts share: how far a picture grows to each side, and its new frame."""

from __future__ import annotations

from collections.abc import Collection

from PIL import Image, ImageDraw

from modules.errors import InvalidInput
from modules.imaging.outpaint import Sides
from modules.scripts.context import check_size

DIRECTIONS = ("left", "right", "up", "down")
Size = tuple[int, int]


def grown_mask(old: Size, sides: Sides, inset: int) -> Image.Image:
    """An L mask of the new part, white, and of `inset` pixels of the old one behind each side that grows.

    The kept part loses one more pixel on the right and below: WebUI's rectangles include their ends.
    """
    width, height = sides.size(old)
    mask = Image.new("L", (width, height), 255)
    box = (sides.left + (inset if sides.left else 0), sides.up + (inset if sides.up else 0),
           width - sides.right - (inset if sides.right else 0), height - sides.down - (inset if sides.down else 0))
    if box[0] <= box[2] and box[1] <= box[3]:
        ImageDraw.Draw(mask).rectangle(box, fill=0)
    return mask


def framed(image: Image.Image, sides: Sides) -> Image.Image:
    """`image` in its place on a larger black picture."""
    larger = Image.new("RGB", sides.size(image.size))
    larger.paste(image, (sides.left, sides.up))
    return larger


def growth(size: Size, pixels: int, directions: Collection[str]) -> Sides:
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
    return Sides(left=left, right=right, up=up, down=down)
