"""Cuts a picture into overlapping tiles and joins them again, fading each tile into the next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from modules.errors import InvalidInput
from modules.imaging.resize import Box, Size, crop


@dataclass(frozen=True)
class Tiles:
    """The layout of the tiles: as few as cover the picture with at least `overlap` pixels in common, evenly spread.

    A tile larger than the picture extends beyond its left or upper edge. Raises InvalidInput if the overlap is as large
    as a tile. Source: WebUI's `split_grid` and `combine_grid`.
    """

    size: Size
    tile: Size
    overlap: int

    def __post_init__(self) -> None:
        if self.overlap >= min(self.tile):
            raise InvalidInput(f"An overlap of {self.overlap} leaves nothing of tiles of {self.tile[0]} x "
                               f"{self.tile[1]}.", field="script_args")

    @property
    def lefts(self) -> list[int]:
        """The left edges of the columns."""
        return self._starts(0)

    @property
    def tops(self) -> list[int]:
        """The upper edges of the rows."""
        return self._starts(1)

    @property
    def boxes(self) -> list[Box]:
        """(left, top, right, bottom) of each tile, row by row."""
        width, height = self.tile
        return [(left, top, left + width, top + height) for top in self.tops for left in self.lefts]

    def cut(self, image: Image.Image) -> list[Image.Image]:
        """The tiles of `image`, row by row."""
        return [crop(image, box) for box in self.boxes]

    def join(self, tiles: Sequence[Image.Image]) -> Image.Image:
        """Join tiles in the order of `cut` to an RGB picture."""
        whole = Image.new("RGB", self.size)
        columns = len(self.lefts)
        for number, top in enumerate(self.tops):
            row = self._row(tiles[number * columns : (number + 1) * columns])
            whole.paste(row, (0, top), self._fade((row.width, row.height), across=False) if number else None)
        return whole

    def _row(self, tiles: Sequence[Image.Image]) -> Image.Image:
        row = Image.new("RGB", (self.size[0], self.tile[1]))
        for number, (left, tile) in enumerate(zip(self.lefts, tiles, strict=True)):
            row.paste(tile.convert("RGB"), (left, 0), self._fade(self.tile, across=True) if number else None)
        return row

    def _fade(self, size: Size, *, across: bool) -> Image.Image:
        """An L mask that rises from 0 across the overlap and is 255 after it."""
        length = size[0] if across else size[1]
        ramp = np.full(length, 255, np.uint8)
        ramp[: self.overlap] = np.arange(self.overlap) * 255 / max(self.overlap, 1)
        lines = np.tile(ramp, (size[1], 1)) if across else np.tile(ramp[:, None], (1, size[0]))
        return Image.fromarray(lines)

    def _starts(self, axis: int) -> list[int]:
        length, tile = self.size[axis], self.tile[axis]
        count = max(math.ceil((length - self.overlap) / (tile - self.overlap)), 1)
        step = (length - tile) / (count - 1) if count > 1 else 0
        return [min(int(number * step), length - tile) for number in range(count)]
