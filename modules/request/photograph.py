"""A photograph: the pixels of a picture's file in their own depth and colours, and what else the file holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
Kind = Literal["PNG", "JPEG", "WEBP", "TIFF"]


@dataclass(frozen=True)
class JpegTables:
    """How strongly a JPEG was compressed: its quantization tables by number, and its chroma subsampling (Pillow's 0, 1
    or 2; None if it is another one)."""

    quantization: Mapping[int, Sequence[int]]
    subsampling: int | None


@dataclass(frozen=True, eq=False)
class Photograph:
    """One picture file, decoded and upright.

    `pixels` are (height, width, channels), with 8 or 16 bits: 1 channel for grey, 3 for RGB, 4 for RGBA, in the colours
    of the profile `icc` (empty for sRGB). `image` shows the same in sRGB with 8 bits, RGB or RGBA. It is the init image
    of a request: a photograph whose `image` is not there any more does not belong to the request.

    `exif` is an EXIF block without orientation and thumbnail, empty if there is none. `kind` is the file's format;
    other formats than these are PNG. `jpeg` is there for a JPEG. `name`, `sha256` and `nbytes` (the length) are those
    of the file; a photograph that was painted in has none. `record` says how it was made (`modules.text.edits`), and
    `warnings` are sentences about what could not be kept.
    """

    pixels: Pixels
    image: Image.Image
    icc: bytes = b""
    exif: bytes = b""
    kind: Kind = "PNG"
    jpeg: JpegTables | None = None
    name: str = ""
    sha256: str = ""
    nbytes: int = 0
    record: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def is_deep(self) -> bool:
        """Whether it has 16 bits a channel."""
        return bool(self.pixels.dtype == np.uint16)

    @property
    def has_alpha(self) -> bool:
        """Whether it has an alpha channel."""
        return bool(self.pixels.shape[2] == 4)

    @property
    def is_plain(self) -> bool:
        """Whether its pixels are 8-bit sRGB, opaque: what every picture here is."""
        return not self.is_deep and not self.icc and self.pixels.shape[2] == 3
