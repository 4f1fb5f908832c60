"""Reading the outputs folder: which pictures are there, and what each of them says of itself."""

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

MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
"""Endings of the files that count as pictures."""



def scan(folder: Path, began: float) -> Iterator[tuple[str, tuple[int, int]]]:
    """Every picture under `folder`: its path and its (time, size). Nothing hidden and no links; leftovers of programs
    that were killed before this one `began` are removed on the way."""
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
                        entry.name.encode()  # a name that is no text cannot be kept in the index
                        stat = entry.stat(follow_symlinks=False)
                        yield f"{inside}{entry.name}", (stat.st_mtime_ns, stat.st_size)


def _remove_leftover(entry: os.DirEntry[str], began: float) -> None:
    with contextlib.suppress(OSError):
        if saving.is_leftover(entry.name, entry.stat(follow_symlinks=False).st_mtime, began):
            os.unlink(entry)


def read(outputs: Path, path: str) -> dict[str, Any]:
    """One picture as a row of the index, its pixels unread. Raises OSError, or ValueError when it is no picture."""
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
