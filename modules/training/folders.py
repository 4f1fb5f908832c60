"""The folders of pictures in `datasets/`: pictures are added, captions are written; what was added stays as it came."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from modules.errors import InvalidInput, NotFound
from modules.imaging.resize import Box
from modules.training.config import check_name
from modules.training.dataset import (
    CAPTIONS,
    SUFFIXES,
    Size,
    bucket,
    check_crop,
    crop_file,
    mask_file,
    open_picture,
    pictures_in,
    read_caption,
    read_crop,
)
from modules.training.writing import write

MOST_PICTURES = 2000
HASH_SIDE = 8
ALIKE = 4
"""Bits of 64 in which the hashes of two pictures differ at most that are called alike."""


@dataclass(frozen=True)
class Entry:
    """A picture of a folder: its file, size in pixels turned as its EXIF says, caption, and the name of an earlier one
    that looks the same, or "". `problem` says why it cannot be trained. `masked`: it has a mask. `crop` is the box
    (left, top, right, bottom) that is trained, None for all."""

    path: Path
    size: Size
    caption: str
    alike: str = ""
    problem: str = ""
    masked: bool = False
    crop: Box | None = None

    @property
    def trained_size(self) -> Size:
        """The size in pixels of what is trained."""
        return (self.crop[2] - self.crop[0], self.crop[3] - self.crop[1]) if self.crop else self.size


class Folders:
    """The folders by name. No name leads out of `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[tuple[Path, int], tuple[Size, int]] = {}  # by file and its time, of those that are there

    def names(self) -> list[str]:
        """All of them, in order."""
        if not self._root.is_dir():
            return []
        return sorted(path.name for path in self._root.iterdir() if path.is_dir() and not path.name.startswith("."))

    def path(self, name: str) -> Path:
        """Where the folder of that name lies. Raises NotFound."""
        if name not in self.names():
            raise NotFound(f"There is no folder {name} in datasets.")
        return self._root / name

    def picture(self, name: str, picture: str) -> Path:
        """Where a picture of a folder lies. Raises NotFound."""
        for path in pictures_in(self.path(name)):
            if path.name == picture:
                return path
        raise NotFound("This picture is no longer there.")

    def add(self, name: str) -> None:
        """A new folder. Raises InvalidInput, CannotSave."""
        check_name(name)
        write(self._root / name / ".keep", b"")

    def add_pictures(self, name: str, files: Sequence[tuple[str, bytes]]) -> None:
        """Copies pictures, and captions beside them, by file name, into a folder, under other names where these are
        taken. Raises InvalidInput for what is neither, NotFound, CannotSave."""
        folder = self.path(name)
        if len(pictures_in(folder)) + len(files) > MOST_PICTURES:
            raise InvalidInput(f"A folder has at most {MOST_PICTURES} pictures.")
        stems: dict[str, str] = {}
        for file, content in sorted(files, key=lambda pair: Path(pair[0]).suffix.lower() not in SUFFIXES):
            stem, suffix = Path(file).stem, Path(file).suffix.lower()
            plain = re.sub(r"[^\w\-. ]", "_", stem)[:80].lstrip(".") or "picture"
            if suffix in SUFFIXES:
                stems[stem] = free = _free(folder, plain)
                write(folder / (free + suffix), content)
                try:
                    open_picture(folder / (free + suffix))
                except InvalidInput:
                    (folder / (free + suffix)).unlink()
                    raise
            elif suffix in CAPTIONS:
                write(folder / (stems.get(stem, plain) + suffix), content[:100_000])
            else:
                raise InvalidInput(f"{Path(file).name} is neither a picture nor a caption.")

    def remove(self, name: str, pictures: Sequence[str]) -> None:
        """Moves pictures with what lies beside them into the folder `.removed`. Raises NotFound."""
        folder = self.path(name)
        for picture in pictures_in(folder):
            if picture.name in pictures:
                for path in (picture, *(picture.with_suffix(one) for one in CAPTIONS), mask_file(picture),
                             crop_file(picture)):
                    _put_aside(folder, path)

    def entries(self, name: str) -> list[Entry]:
        """The pictures of a folder, in order. Raises NotFound."""
        found: list[Entry] = []
        hashes: list[tuple[int, str]] = []
        here: set[tuple[Path, int]] = set()
        for path in pictures_in(self.path(name)):
            here.add(_version(path))
            size, number, masked = (0, 0), None, mask_file(path).is_file()
            try:
                size, number = self._looked_at(path)
                crop = read_crop(path)
                check_crop(crop, path, size)
            except InvalidInput as error:
                found.append(Entry(path, size, read_caption(path), problem=error.message, masked=masked))
                continue
            alike = next((other for seen, other in hashes if (seen ^ number).bit_count() <= ALIKE), "")
            hashes.append((number, path.name))
            found.append(Entry(path, size, read_caption(path), alike, masked=masked, crop=crop))
        others = set(self.names()) - {name}
        self._known = {key: known for key, known in self._known.items() if key in here or key[0].parent.name in others}
        return found

    def size(self, name: str, picture: str) -> Size:
        """The (width, height) in pixels of a picture of a folder, turned as its EXIF says. Raises NotFound,
        InvalidInput."""
        return self._looked_at(self.picture(name, picture))[0]

    def _looked_at(self, path: Path) -> tuple[Size, int]:
        key = _version(path)
        known = self._known.get(key)
        if known is None:
            image = open_picture(path)
            known = self._known[key] = image.size, looks(image)
        return known

    def write_mask(self, name: str, picture: str, mask: Image.Image | None) -> None:
        """Writes what of a picture counts: grey, of its size, white where it does. None puts its mask aside. Raises
        NotFound, InvalidInput, CannotSave."""
        path = self.picture(name, picture)
        if mask is None:
            _put_aside(path.parent, mask_file(path))
            return
        if mask.size != self.size(name, picture):
            raise InvalidInput("The mask has another size than the picture.")
        content = io.BytesIO()
        mask.convert("L").save(content, "PNG")
        write(mask_file(path), content.getvalue())

    def write_crop(self, name: str, picture: str, crop: Box | None) -> None:
        """Writes what of a picture is trained: a box (left, top, right, bottom) in its pixels. None, and the whole
        picture, put its crop aside. Raises NotFound, InvalidInput, CannotSave."""
        path, size = self.picture(name, picture), self.size(name, picture)
        if crop is None or crop == (0, 0, *size):
            _put_aside(path.parent, crop_file(path))
            return
        check_crop(crop, path, size)
        left, top, right, bottom = crop
        write(crop_file(path), f"{right - left}x{bottom - top}+{left}+{top}\n".encode())

    def write_captions(self, name: str, captions: Mapping[str, str]) -> None:
        """Writes the captions of pictures, by their names, where they are others. An empty one is taken away. Raises
        NotFound, CannotSave."""
        for picture in pictures_in(self.path(name)):
            caption = read_caption(picture)
            text = " ".join(captions.get(picture.name, caption).split())
            if text == caption:
                continue
            old = next((path for suffix in CAPTIONS
                        if (path := picture.with_suffix(suffix)).is_file()), picture.with_suffix(".txt"))
            write(old, text.encode())


def looks(image: Image.Image) -> int:
    """How a picture looks, as 64 bits: whether each of 8 x 8 places is darker than its right neighbour (dHash, Krawetz
    2013)."""
    small = ImageOps.grayscale(image).resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX)
    rows = list(small.tobytes())
    bits = 0
    for at in range(HASH_SIDE * (HASH_SIDE + 1)):
        if at % (HASH_SIDE + 1) < HASH_SIDE:
            bits = bits << 1 | (rows[at] < rows[at + 1])
    return bits


def buckets(entries: Sequence[Entry], side: int, step: int) -> dict[Size, int]:
    """How many pictures are trained in each size (width, height)."""
    found: dict[Size, int] = {}
    for entry in entries:
        if not entry.problem:
            size = bucket(entry.trained_size, side, step)
            found[size] = found.get(size, 0) + 1
    return found


def replaced(captions: Mapping[str, str], find: str, instead: str) -> dict[str, str]:
    """The captions with one text put for another, in any case. Raises InvalidInput for nothing to find."""
    if not find:
        raise InvalidInput("Write what is to be found.")
    pattern = re.compile(re.escape(find), re.IGNORECASE)
    return {name: pattern.sub(lambda _: instead, text) for name, text in captions.items()}


def _version(path: Path) -> tuple[Path, int]:
    return path, path.stat().st_mtime_ns


def _put_aside(folder: Path, path: Path) -> None:
    """Moves a file of a folder, if it is there, into the folder `.removed`."""
    if path.is_file():
        aside = folder / ".removed" / path.relative_to(folder)
        aside.parent.mkdir(parents=True, exist_ok=True)
        path.replace(aside)


def _free(folder: Path, stem: str) -> str:
    """`stem`, or that with a number where there is such a picture."""
    taken = {path.stem for path in pictures_in(folder)}
    number, free = 1, stem
    while free in taken:
        number += 1
        free = f"{stem}-{number}"
    return free
