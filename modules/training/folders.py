"""The folders of pictures in `datasets/`: pictures are added, captions are written; what was added stays as it came."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from modules.errors import InvalidInput, NotFound
from modules.training.config import check_name
from modules.training.dataset import CAPTIONS, MASK, SUFFIXES, Size, bucket, open_picture, pictures_in, read_caption
from modules.training.writing import write

MOST_PICTURES = 2000
HASH_SIDE = 8
ALIKE = 4
"""Bits of 64 in which the hashes of two pictures differ at most that are called alike."""


@dataclass(frozen=True)
class Entry:
    """A picture of a folder: its file, size in pixels turned as its EXIF says, caption, and the name of an earlier one
    that looks the same, or "". `problem` says why it cannot be read."""

    path: Path
    size: Size
    caption: str
    alike: str = ""
    problem: str = ""


class Folders:
    """The folders by name. No name leads out of `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[tuple[Path, int], tuple[Size, int]] = {}

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
                gone = folder / ".removed"
                gone.mkdir(exist_ok=True)
                for path in (picture, *(picture.with_suffix(one) for one in CAPTIONS),
                             picture.with_name(picture.stem + MASK)):
                    if path.is_file():
                        path.replace(gone / path.name)

    def entries(self, name: str) -> list[Entry]:
        """The pictures of a folder, in order. Raises NotFound."""
        found: list[Entry] = []
        hashes: list[tuple[int, str]] = []
        for path in pictures_in(self.path(name)):
            try:
                size, number = self._looked_at(path)
            except InvalidInput as error:
                found.append(Entry(path, (0, 0), read_caption(path), problem=error.message))
                continue
            alike = next((other for seen, other in hashes if (seen ^ number).bit_count() <= ALIKE), "")
            hashes.append((number, path.name))
            found.append(Entry(path, size, read_caption(path), alike))
        return found

    def _looked_at(self, path: Path) -> tuple[Size, int]:
        key = path, path.stat().st_mtime_ns
        if key not in self._known:
            image = open_picture(path)
            self._known[key] = image.size, looks(image)
        return self._known[key]

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
            size = bucket(entry.size, side, step)
            found[size] = found.get(size, 0) + 1
    return found


def replaced(captions: Mapping[str, str], find: str, instead: str) -> dict[str, str]:
    """The captions with one text put for another, in any case. Raises InvalidInput for nothing to find."""
    if not find:
        raise InvalidInput("Write what is to be found.")
    pattern = re.compile(re.escape(find), re.IGNORECASE)
    return {name: pattern.sub(lambda _: instead, text) for name, text in captions.items()}


def _free(folder: Path, stem: str) -> str:
    """`stem`, or that with a number where there is such a picture."""
    taken = {path.stem for path in pictures_in(folder)}
    number, free = 1, stem
    while free in taken:
        number += 1
        free = f"{stem}-{number}"
    return free
