"""Saves pictures with WebUI's folders and file names. A file appears only when it is complete.

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
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from PIL import Image

from modules.base.files import is_leftover as is_leftover
from modules.base.files import temporary_name
from modules.errors import StorageFull, UserError
from modules.gallery.formats import KINDS, PNG, Format
from modules.request import Img2Img, Txt2Img
from modules.request.photograph import Photograph
from modules.request.result import GeneratedImage

_COUNTER = re.compile(r"(?:[a-z_]+-)?(\d{5,9})[-.]")
_NO_TEXTS: Mapping[str, str] = MappingProxyType({})
LEAST_LOSS = 95
"""The quality of a JPEG that is asked for by its name alone."""
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class CannotSave(UserError):
    """The folder could not be created or written."""

    status = 507


@dataclass(frozen=True)
class EncodedImage(GeneratedImage):
    """A picture that comes with its file: the `content` that `encoded` makes of it in `form`."""

    form: Format = PNG
    content: bytes = b""


def encoded(made: GeneratedImage, form: Format) -> bytes:
    """The file that `Saver` writes of `made` in `form`."""
    return form.fitting(made.image).encode_any(made.image, made.photograph, made.infotext)


def save(image: Image.Image, infotext: str, directory: Path, *, seed: int | None = None, prefix: str = "",
         texts: Mapping[str, str] = _NO_TEXTS, form: Format = PNG, photograph: Photograph | None = None,
         content: bytes = b"") -> Path:
    """Write `image`, or instead of it `photograph`, in the format `form` into `directory`, named `prefix`, the next
    free number, `seed`. Returns the path.

    `texts` are further text chunks by name. `content` is the file's, where it is there already. Raises StorageFull or
    CannotSave; no file is left behind then.
    """
    form = form.fitting(image)
    content = content or form.encode_any(image, photograph, infotext, texts)
    with _written(content, directory) as temporary:
        path = _claim_name(temporary, directory, seed, prefix, form.suffix)
    _save_sidecar(form.sidecar(photograph, infotext), path)
    return path


def save_as(image: Image.Image, infotext: str, path: Path, *, photograph: Photograph | None = None) -> None:
    """Write `image`, or instead of it `photograph`, to `path`, replacing a file there. The name's ending decides the
    format; one that means nothing makes a PNG. WebP is without loss. Raises StorageFull or CannotSave; the old file
    stays then."""
    form = Format(KINDS.get(path.suffix[1:].lower(), "PNG"), LEAST_LOSS, lossless=True).fitting(image)
    with _written(form.encode_any(image, photograph, infotext), path.parent) as temporary:
        os.replace(temporary, path)
    _save_sidecar(form.sidecar(photograph, infotext), path)


def sidecar_of(path: Path) -> Path:
    """The file beside a picture that has the record of its edits, if that does not fit into the picture's file."""
    return path.with_name(f"{path.name}.edits.json")


def _save_sidecar(record: str, path: Path) -> None:
    if record:
        with _written(record.encode("ascii"), path.parent) as temporary:
            os.replace(temporary, sidecar_of(path))


@contextlib.contextmanager
def _written(content: bytes, directory: Path) -> Iterator[Path]:
    """Yield a hidden temporary file in `directory` with the whole picture, flushed to disk. The caller gives it its
    name."""
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
    """Give the finished file the first free number."""
    number = next_number(directory)
    while True:
        path = directory / f"{prefix}{number:05}{'' if seed is None else f'-{seed}'}{suffix}"
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


def next_number(directory: Path) -> int:
    """One more than the largest counter of the file names in `directory`; 0 if there is none."""
    found = (_COUNTER.match(name) for name in os.listdir(directory))
    return max((int(match[1]) + 1 for match in found if match), default=0)


class Saver:
    """Saves finished pictures in the folder of their kind and day and in the present `form`at, and calls `saved` with
    the path of each."""

    def __init__(self, outputs: Path, saved: Callable[[Path], object] = lambda path: None,
                 form: Callable[[], Format] = Format) -> None:
        self._outputs, self._saved, self._form = outputs, saved, form

    def __call__(self, made: GeneratedImage, request: Txt2Img) -> Path:
        kind = f"{'img2img' if isinstance(request, Img2Img) else 'txt2img'}-{'grids' if made.grid else 'images'}"
        directory = self._outputs / kind / datetime.date.today().isoformat()
        form = self._form()  # which may have changed since the file was made
        content = made.content if isinstance(made, EncodedImage) and made.form == form else b""
        path = save(made.image, made.infotext, directory, seed=made.seed, prefix=f"{made.grid}-" if made.grid else "",
                    form=form, photograph=made.photograph, content=content)
        self._saved(path)
        return path
