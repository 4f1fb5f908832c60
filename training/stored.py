"""Pictures that take long to make, kept as PNG files so that the next process only reads them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from PIL import Image

SOURCES = ("scenes.py", "art.py", "filters.py", "backdrops.py")  # a change in these makes all pictures anew


def _version() -> str:
    here = Path(__file__).parent
    return hashlib.sha256(b"".join((here / name).read_bytes() for name in SOURCES)).hexdigest()[:12]


VERSION = _version()


def stored(folder: str, key: tuple[object, ...], make: Callable[[], Image.Image]) -> Image.Image:
    """The picture of that key: read from beside the folder of art if it is there, else made and written."""
    path = Path(folder).parent / "drawn" / VERSION / ("_".join(map(str, key)) + ".png")
    if path.exists():
        return Image.open(path).copy()
    image = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    image.save(temporary, "PNG", compress_level=1)
    temporary.replace(path)  # whole or not at all, whichever process comes first
    return image
