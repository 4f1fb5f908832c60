"""Pictures on disk: WebUI's folders and file names, the parameters text inside the file, and never half a file.

outputs/txt2img-images/2026-01-31/00000-1234.png: a counter that goes on from what is there, and the seed. Grids are in
outputs/txt2img-grids, and their names begin with what they are: grid-00000-1234.png. What the Extras tab makes has no
seed and no folders of days: outputs/extras-images/00000.png.
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

from PIL import Image

from modules.base.files import is_leftover as is_leftover
from modules.base.files import temporary_name
from modules.errors import StorageFull, UserError
from modules.gallery.formats import PNG, Format
from modules.request import Img2Img, Txt2Img

if TYPE_CHECKING:
    from modules.request.result import GeneratedImage

_COUNTER = re.compile(r"(?:[a-z_]+-)?(\d{5,9})[-.]")
_NO_TEXTS: Mapping[str, str] = MappingProxyType({})
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class CannotSave(UserError):
    """The folder is not there or may not be written."""

    status = 507


def save(image: Image.Image, infotext: str, directory: Path, *, seed: int | None = None, prefix: str = "",
         texts: Mapping[str, str] = _NO_TEXTS, form: Format = PNG) -> Path:
    """Writes `image` in the format `form` under the next free number in `directory`, behind `prefix`; its path.

    `texts` are further text chunks by name. Raises StorageFull or CannotSave, and leaves nothing behind then.
    """
    form = form.fitting(image)
    with _written(form.encode(image, infotext, texts), directory) as temporary:
        return _claim_name(temporary, directory, seed, prefix, form.suffix)


def save_as(image: Image.Image, infotext: str, path: Path) -> None:
    """Writes `image` as a PNG over `path`. Raises StorageFull or CannotSave, changing nothing then."""
    with _written(PNG.encode(image, infotext), path.parent) as temporary:
        os.replace(temporary, path)


@contextlib.contextmanager
def _written(content: bytes, directory: Path) -> Iterator[Path]:
    """A hidden file in `directory` that holds the whole picture and is on the disk; to be moved to its name."""
    temporary = temporary_name(directory / "picture")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
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


def _claim_name(temporary: Path, directory: Path, seed: int | None, prefix: str, suffix: str) -> Path:
    """Gives the finished file the first free number."""
    number = next_number(directory)
    while True:
        path = directory / f"{prefix}{number:05}{'' if seed is None else f'-{seed}'}{suffix}"
        try:
            put(temporary, path)
            return path
        except FileExistsError:
            number += 1


def put(file: Path, path: Path) -> None:
    """Gives `file` a name that must be free; the old one may stay. Raises FileExistsError, and OSErrors of the disk.

    A hard link fails where the name is taken; a rename would overwrite.
    """
    try:
        os.link(file, path)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        path.touch(exist_ok=False)  # FAT and the like: take the name first, then rename over it
        os.replace(file, path)


def next_number(directory: Path) -> int:
    """One more than the largest number that a name in `directory` begins with; 0 in an empty one."""
    found = (_COUNTER.match(name) for name in os.listdir(directory))
    return max((int(match[1]) + 1 for match in found if match), default=0)


class Saver:
    """Saves what the queue has finished, in the folder of its kind and day and the present `form`at; tells `saved` of
    each file."""

    def __init__(self, outputs: Path, saved: Callable[[Path], object] = lambda path: None,
                 form: Callable[[], Format] = Format) -> None:
        self._outputs, self._saved, self._form = outputs, saved, form

    def __call__(self, made: GeneratedImage, request: Txt2Img) -> Path:
        kind = f"{'img2img' if isinstance(request, Img2Img) else 'txt2img'}-{'grids' if made.grid else 'images'}"
        directory = self._outputs / kind / datetime.date.today().isoformat()
        path = save(made.image, made.infotext, directory, seed=made.seed, prefix=f"{made.grid}-" if made.grid else "",
                    form=self._form())
        self._saved(path)
        return path
