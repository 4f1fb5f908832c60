"""Saves pictures as PNG files with WebUI's folders and file names. A file appears only when it is complete.

A picture's name has a counter, which continues from the files that are there, and the seed:
outputs/txt2img-images/2026-01-31/00000-1234.png. Grids are in outputs/txt2img-grids and have a prefix:
grid-00000-1234.png. Pictures of the Extras tab have no seed and no folder for each day:
outputs/extras-images/00000.png.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import psutil
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from modules.base.unicode import without_surrogates
from modules.errors import StorageFull, UserError
from modules.request import Img2Img, Txt2Img
from modules.text.image_metadata import PARAMETERS

if TYPE_CHECKING:
    from modules.request.result import GeneratedImage

LONGEST_SAVE = 3600
"""Seconds after which a temporary file counts as abandoned, whatever process has its maker's process id now."""

_TEMPORARY = re.compile(r"\.(\d{1,9})-[0-9a-f]+\.tmp")
_COUNTER = re.compile(r"(?:[a-z_]+-)?(\d{5,9})[-.]")
_NO_TEXTS: Mapping[str, str] = MappingProxyType({})
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class CannotSave(UserError):
    """The folder could not be created or written."""

    status = 507


def png_info(infotext: str, texts: Mapping[str, str] = _NO_TEXTS) -> PngInfo:
    """The PNG text chunks for `infotext` and for further `texts` by name: Latin-1 if possible, otherwise UTF-8.

    An unpaired surrogate becomes a question mark.
    """
    info = PngInfo()
    if infotext:
        info.add_text(PARAMETERS, without_surrogates(infotext))
    for name, text in texts.items():
        info.add_text(name, text)
    return info


def save(image: Image.Image, infotext: str, directory: Path, *, seed: int | None = None, prefix: str = "",
         texts: Mapping[str, str] = _NO_TEXTS) -> Path:
    """Write `image` as a PNG into `directory`, named `prefix`, the next free number, `seed`. Returns the path.

    `texts` are further text chunks by name. Raises StorageFull or CannotSave; no file is left behind then.
    """
    with _written(image, png_info(infotext, texts), directory) as temporary:
        return _claim_name(temporary, directory, seed, prefix)


def save_as(image: Image.Image, infotext: str, path: Path) -> None:
    """Write `image` as a PNG to `path`, replacing a file there. Raises StorageFull or CannotSave; the old file stays
    then."""
    with _written(image, png_info(infotext), path.parent) as temporary:
        os.replace(temporary, path)


@contextlib.contextmanager
def _written(image: Image.Image, info: PngInfo, directory: Path) -> Iterator[Path]:
    """Yield a hidden temporary file in `directory` with the whole picture, flushed to disk. The caller gives it its
    name."""
    temporary = directory / f".{os.getpid()}-{id(image):x}.tmp"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            image.save(file, "PNG", pnginfo=info)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"The disk is full: the picture could not be saved in {directory}.") from error
        raise CannotSave(f"The picture could not be saved in {directory}: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _claim_name(temporary: Path, directory: Path, seed: int | None, prefix: str) -> Path:
    """Give the finished file the first free number."""
    number = next_number(directory)
    while True:
        path = directory / f"{prefix}{number:05}{'' if seed is None else f'-{seed}'}.png"
        try:
            put(temporary, path)
            return path
        except FileExistsError:
            number += 1


def put(file: Path, path: Path) -> None:
    """Give `file` the name `path`, which must be free. The old name may remain. Raises FileExistsError and OSError.

    This uses a hard link, which fails if the name is taken; a rename would overwrite.
    """
    try:
        os.link(file, path)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        path.touch(exist_ok=False)  # no hard links (FAT): reserve the name, then rename over it
        os.replace(file, path)


def is_leftover(name: str, modified: float, began: float) -> bool:
    """True if `name` is a temporary file of a program that was killed while it saved.

    `modified` is the file's modification time, `began` the start of this program, both in seconds since 1970.
    """
    found = _TEMPORARY.fullmatch(name)
    if found is None:
        return False
    maker = int(found[1])
    if maker == os.getpid():  # ours, or from an earlier program with the same process id, as in a container
        return modified < began - 1
    return not psutil.pid_exists(maker) or modified < began - LONGEST_SAVE


def next_number(directory: Path) -> int:
    """One more than the largest counter of the file names in `directory`; 0 if there is none."""
    found = (_COUNTER.match(name) for name in os.listdir(directory))
    return max((int(match[1]) + 1 for match in found if match), default=0)


class Saver:
    """Saves finished pictures in the folder of their kind and day, and calls `saved` with the path of each."""

    def __init__(self, outputs: Path, saved: Callable[[Path], object] = lambda path: None) -> None:
        self._outputs, self._saved = outputs, saved

    def __call__(self, made: GeneratedImage, request: Txt2Img) -> Path:
        kind = f"{'img2img' if isinstance(request, Img2Img) else 'txt2img'}-{'grids' if made.grid else 'images'}"
        directory = self._outputs / kind / datetime.date.today().isoformat()
        path = save(made.image, made.infotext, directory, seed=made.seed, prefix=f"{made.grid}-" if made.grid else "")
        self._saved(path)
        return path
