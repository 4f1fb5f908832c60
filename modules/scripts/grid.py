"""Grids of pictures, and the legends at their edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from modules.scripts.context import check_size

Size = tuple[int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

BLACK, GREY, PAPER = (0, 0, 0), (153, 153, 153), (255, 255, 255)


@dataclass(frozen=True)
class Label:
    """One text of a legend. One that is not `active` is grey and struck out."""

    text: str
    active: bool = True


def image_grid(images: Sequence[Image.Image], rows: int | None = None, cell: Size | None = None) -> Image.Image:
    """Arrange `images` row by row, each centred in its cell.

    `cell` is the (width, height) of a cell; by default the largest image fits into it. Without `rows` the grid is about
    square. Raises InvalidInput if the grid would be too large.
    """
    rows = max(rows or round(math.sqrt(len(images))), 1)
    columns = math.ceil(len(images) / rows)
    width, height = cell or cell_size(images)
    check_size(width * columns, height * rows)
    sheet = Image.new("RGB", (width * columns, height * rows))
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        sheet.paste(image, (column * width + (width - image.width) // 2, row * height + (height - image.height) // 2))
    return sheet


def cell_size(images: Sequence[Image.Image]) -> Size:
    """The (width, height) of the smallest cell that each image fits into."""
    return max(image.width for image in images), max(image.height for image in images)


def with_legend(sheet: Image.Image, cell: Size, columns: Sequence[Sequence[Label]], rows: Sequence[Sequence[Label]],
                margin: int = 0) -> Image.Image:
    """The grid `sheet` on white, with texts over its columns and left of its rows, and `margin` pixels between cells.

    `cell` is the (width, height) of a cell. The proportions are WebUI's: the font size is (width + height) / 25 of a
    cell, and the texts on the left take three quarters of a cell's width. Raises InvalidInput if the picture would be
    too large.
    """
    size = max((cell[0] + cell[1]) // 25, 8)
    gap = size // 2
    left = cell[0] * 3 // 4 if _any(rows) else 0
    over = [_Text(texts, cell[0], size, gap) for texts in columns]
    beside = [_Text(texts, left, size, gap) for texts in rows]
    top = max(text.height for text in over) + 2 * gap if _any(columns) else 0
    across, down = cell[0] + margin, cell[1] + margin
    paper_size = left + across * len(columns) - margin, top + down * len(rows) - margin
    check_size(*paper_size)
    paper = Image.new("RGB", paper_size, PAPER)
    draw = ImageDraw.Draw(paper)
    for y, row in enumerate(beside):
        for x in range(len(columns)):
            part = sheet.crop((x * cell[0], y * cell[1], (x + 1) * cell[0], (y + 1) * cell[1]))
            paper.paste(part, (left + x * across, top + y * down))
        row.draw(draw, left // 2, top + y * down + (cell[1] - row.height) // 2)
    for x, column in enumerate(over):
        column.draw(draw, left + x * across + cell[0] // 2, (top - column.height) // 2)
    return paper


def _any(texts: Sequence[Sequence[Label]]) -> bool:
    return any(label.text for labels in texts for label in labels)


class _Text:
    """Labels one below the other, broken into lines that fit `width`. `size` is the font's, `gap` between lines."""

    def __init__(self, labels: Sequence[Label], width: int, size: int, gap: int) -> None:
        self.gap = gap
        self.lines = [(line, label.active, font) for label in labels if label.text and width
                      for font in [_fitting(label.text, width, size)] for line in _wrap(label.text, font, width)]

    @property
    def height(self) -> int:
        """Pixels from the top of the first line to the bottom of the last."""
        return sum(_height(font) + self.gap for _, _, font in self.lines) - self.gap if self.lines else 0

    def draw(self, draw: ImageDraw.ImageDraw, middle: int, top: int) -> None:
        """Draw the lines centred on x = `middle`, starting at y = `top`."""
        for line, active, font in self.lines:
            height, half = _height(font), font.getlength(line) / 2
            draw.text((middle, top + height // 2), line, font=font, fill=BLACK if active else GREY, anchor="mm")
            if not active:
                strike = top + height // 2
                draw.line((middle - half, strike, middle + half, strike), fill=GREY, width=max(height // 8, 1))
            top += height + self.gap


def _fitting(text: str, width: int, size: int) -> Font:
    """The font in the largest size, at most `size` and at least 8, in which the longest word fits `width`."""
    longest = max(text.split(), key=len, default="")
    while size > 8 and ImageFont.load_default(size).getlength(longest) > width:
        size -= 1
    return ImageFont.load_default(size)


def _wrap(text: str, font: Font, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _height(font: Font) -> int:
    _, top, _, bottom = font.getbbox("Ag")
    return math.ceil(bottom - top)
