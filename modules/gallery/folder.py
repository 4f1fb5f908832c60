"""Reads the outputs folder: which pictures it has, and the parameters in each of them."""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from modules.base.unicode import without_surrogates
from modules.gallery import saving
from modules.text import image_metadata, infotext

MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp",
               ".tif": "image/tiff", ".tiff": "image/tiff"}
"""The file extensions that count as pictures, with their media types."""


def scan(folder: Path, began: float) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield (path, (modification time in ns, size in bytes)) of every picture under `folder`, without hidden files and
    links. Temporary files of programs killed before this one `began` (seconds since 1970) are deleted on the way."""
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        with contextlib.suppress(FileNotFoundError), os.scandir(folder / inside) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if not entry.name.startswith("."):
                        waiting.append(f"{inside}{entry.name}/")
                elif entry.name.startswith("."):
                    _remove_leftover(entry, began)
                elif os.path.splitext(entry.name)[1].lower() in MEDIA_TYPES and entry.is_file(follow_symlinks=False):
                    with contextlib.suppress(FileNotFoundError, UnicodeEncodeError):
                        entry.name.encode()  # raises for a name that is not valid text and cannot be stored
                        stat = entry.stat(follow_symlinks=False)
                        yield f"{inside}{entry.name}", (stat.st_mtime_ns, stat.st_size)


def _remove_leftover(entry: os.DirEntry[str], began: float) -> None:
    with contextlib.suppress(OSError):
        if saving.is_leftover(entry.name, entry.stat(follow_symlinks=False).st_mtime, began):
            os.unlink(entry)


def read(outputs: Path, path: str) -> dict[str, Any]:
    """Return the row of the index for one picture. Its pixels are not decoded.

    Raises OSError, and ValueError for a file that is not a picture.
    """
    stat = (outputs / path).stat()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(outputs / path) as image:
                (width, height), text = image.size, image_metadata.read(image)
    except OSError:
        raise
    except Exception as error:  # Pillow's readers raise nearly anything for a broken file
        raise ValueError(f"{path} is no picture") from error
    text = without_surrogates(text)
    found = infotext.parse(text)
    model, sampler, seed, prompt = (str(found.get(key, "")) for key in ("Model", "Sampler", "Seed", "Prompt"))
    return {"path": path, "created": stat.st_mtime_ns, "bytes": stat.st_size, "width": width, "height": height,
            "seed": int(seed) if re.fullmatch(r"-?[0-9]{1,20}", seed) else None, "model": model,
            "sampler": sampler, "prompt": prompt, "text": text}
