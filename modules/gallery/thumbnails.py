"""Thumbnails, made when they are first requested and cached in a folder that may be emptied."""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
import time
import warnings
from pathlib import Path

from PIL import Image, ImageOps

from modules.base.files import sweep, write_whole
from modules.errors import InvalidInput, NotFound
from modules.gallery.formats import PNG
from modules.imaging import photograph
from modules.imaging.modes import to_rgb
from modules.imaging.photograph import in_srgb

SIDE = 320
"""The longer side in pixels: a tile of the page on a screen with two device pixels for each CSS pixel."""

KEPT_SECONDS = 30 * 24 * 60 * 60
MEDIA_TYPE = "image/webp"


class Thumbnails:
    """WebP thumbnails of at most `SIDE` pixels, cached in `folder`. Every method may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._decoding = threading.BoundedSemaphore(2)  # a page requests dozens at once, and one may take 200 MB

    def get(self, file: Path) -> bytes:
        """The thumbnail of a picture as WebP. Raises NotFound if the file is missing or is not a readable picture."""
        try:
            stat = file.stat()
            kept = self._folder / f"{_digest(f'{file}|{stat.st_mtime_ns}|{stat.st_size}')}.webp"
            with contextlib.suppress(FileNotFoundError):
                return kept.read_bytes()
            with self._decoding:
                data = _make(file)
        except Exception as error:  # Pillow's readers raise nearly anything for a broken file
            raise NotFound(f"The picture {file.name} is not there or cannot be shown.") from error
        with contextlib.suppress(OSError):  # with a full disk it is made again next time
            self._keep(kept, data)
        return data

    def forget_old(self) -> None:
        """Delete thumbnails older than `KEPT_SECONDS`, and what killed programs left."""
        sweep(self._folder, time.time())
        for file in self._folder.glob("*.webp"):
            with contextlib.suppress(OSError):
                if time.time() - file.stat().st_mtime > KEPT_SECONDS:
                    file.unlink()

    def _keep(self, kept: Path, data: bytes) -> None:
        write_whole(kept, data)


def as_png(file: Path) -> bytes:
    """A picture that browsers do not show (TIFF) as a PNG in 8-bit sRGB. Raises NotFound."""
    try:
        return PNG.encode(photograph.read(file.read_bytes()).image, compress_level=1)
    except (OSError, InvalidInput) as error:
        raise NotFound(f"The picture {file.name} is not there or cannot be shown.") from error


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _make(file: Path) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(file) as image:
            image.draft("RGB", (2 * SIDE, 2 * SIDE))
            small = to_rgb(ImageOps.exif_transpose(image))
    small.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    in_srgb(small).save(buffer, "WEBP", quality=82, method=2)
    return buffer.getvalue()
