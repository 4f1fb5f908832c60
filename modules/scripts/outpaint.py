"""Shared by both outpainting scripts: how far a picture grows on each side, the larger canvas, and its mask."""

from __future__ import annotations

from collections.abc import Collection

from PIL import Image, ImageDraw

from modules.errors import InvalidInput
from modules.imaging.outpaint import Sides
from modules.scripts.context import check_size

DIRECTIONS = ("left", "right", "up", "down")
Size = tuple[int, int]


def grown_mask(old: Size, sides: Sides, inset: int) -> Image.Image:
    """An L mask that is white on the new part and on `inset` pixels of the old picture along each side that grows.

    On the right and below, the kept part is one pixel larger than that: WebUI's rectangles include their ends.
    """
    width, height = sides.size(old)
    mask = Image.new("L", (width, height), 255)
    box = (sides.left + (inset if sides.left else 0), sides.up + (inset if sides.up else 0),
           width - sides.right - (inset if sides.right else 0), height - sides.down - (inset if sides.down else 0))
    if box[0] <= box[2] and box[1] <= box[3]:
        ImageDraw.Draw(mask).rectangle(box, fill=0)
    return mask


def framed(image: Image.Image, sides: Sides) -> Image.Image:
    """`image` at its place on the larger canvas, which is black."""
    larger = Image.new("RGB", sides.size(image.size))
    larger.paste(image, (sides.left, sides.up))
    return larger


def growth(size: Size, pixels: int, directions: Collection[str]) -> Sides:
    """How far the picture grows: at least `pixels` in each of `directions`, until both sides are multiples of 64.

    Raises InvalidInput for no direction, no pixels, or a picture that becomes too large.
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
