"""Taggers: a share for each word of a list, by an ONNX network as of SmilingWolf's wd14 taggers.

The network reads one picture (1, H, W, 3), BGR from 0 to 255, on a white square, and answers (1, N) shares. The list is
a CSV with the columns `name` and `category`: 9 is a rating, 4 a character, 0 any other word.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from modules.base.files import FileVersion, file_version
from modules.errors import CheckpointError
from modules.imaging.onnx_network import OnnxNetwork

LIST = "selected_tags.csv"
RATING, CHARACTER = "9", "4"
SIDE = 448
"""Of the input, where the file leaves it open."""
FACES = {"0_0", "(o)_(o)", "+_+", "+_-", "._.", "<o>_<o>", "<|>_<|>", "=_=", ">_<", "3_3", "6_9", ">_o", "@_@", "^_^",
         "o_o", "u_u", "x_x", "|_|", "||_||"}
"""Words whose underscore is a mouth."""


@dataclass(frozen=True)
class Tags:
    """Shares by word, the largest first."""

    ratings: dict[str, float]
    words: dict[str, float]

    def above(self, threshold: float) -> dict[str, float]:
        """The words whose share is at least `threshold`."""
        return {word: share for word, share in self.words.items() if share >= threshold}


def as_prompt(words: Sequence[str]) -> str:
    """The words as a prompt: with spaces, and with brackets that do not weigh."""
    spaced = (word if word in FACES else word.replace("_", " ") for word in words)
    return ", ".join(word.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)") for word in spaced)


class Taggers:
    """The taggers in `folders`: a sub-folder with one ONNX file and `selected_tags.csv`, or `name.onnx` beside
    `name.csv`.

    A file is read when it is first used; the last one is kept. Only one thread at a time may use a tagger.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._folders = tuple(folders)
        self._kept: tuple[tuple[Path, FileVersion | None], OnnxNetwork, list[tuple[str, str]]] | None = None

    def files(self) -> dict[str, tuple[Path, Path]]:
        """(network, list) by the name of the tagger."""
        found: dict[str, tuple[Path, Path]] = {}
        for folder in self._folders:
            for path in sorted(folder.rglob("*.onnx")) if folder.is_dir() else ():
                beside, own = path.with_suffix(".csv"), path.with_name(LIST)
                if beside.is_file():
                    found.setdefault(path.stem, (path, beside))
                elif own.is_file():
                    found.setdefault(path.stem if path.parent == folder else path.parent.name, (path, own))
        return dict(sorted(found.items(), key=lambda item: item[0].lower()))

    def tag(self, image: Image.Image, name: str) -> Tags:
        """What the tagger of that full name sees in a picture. Raises CheckpointError."""
        network, words = self._loaded(*self.files()[name])
        side = max(network.picture_size((SIDE, SIDE), colours_last=True))
        (answer, *_) = network(_squared(image, side)).values()
        if answer.size != len(words):
            raise CheckpointError(f"{network.name} answers with {answer.size} shares, and its list has {len(words)} "
                                  "words.")
        shares = sorted(zip(words, answer.reshape(-1).tolist(), strict=True), key=lambda item: -item[1])
        return Tags({word: share for (word, kind), share in shares if kind == RATING},
                    {word: share for (word, kind), share in shares if kind != RATING})

    def _loaded(self, path: Path, words: Path) -> tuple[OnnxNetwork, list[tuple[str, str]]]:
        key = (path, file_version(path))
        if self._kept is None or self._kept[0] != key:
            self._kept = None
            self._kept = key, OnnxNetwork(path), _words(words)
        return self._kept[1:]


def _words(path: Path) -> list[tuple[str, str]]:
    """(word, category) of each row. Raises CheckpointError."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [(row["name"], row["category"]) for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise CheckpointError(f"{path.name} is no list of a tagger's words: it needs the columns name and category."
                              ) from error


def _squared(image: Image.Image, side: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """(1, side, side, 3): the picture in the middle of a white square, BGR from 0 to 255."""
    rgba = image.convert("RGBA")
    longest = max(rgba.size)
    white = Image.new("RGBA", (longest, longest), "white")
    white.alpha_composite(rgba, ((longest - rgba.width) // 2, (longest - rgba.height) // 2))
    pixels = np.asarray(white.convert("RGB"))
    shrinking = longest > side
    resized = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC)
    return np.ascontiguousarray(resized[None, :, :, ::-1], dtype=np.float32)
