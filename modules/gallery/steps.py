"""What `generation.recording` has written, read again: numbers for plots, pictures, an animation, a strip."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open

from modules.errors import InvalidInput, NotFound

SHOWN = ("current", "original", "result", "x", "x0", "eps", "guidance")
"""The pictures that a recording may have of each call: before the blend, what it keeps, after it, what the network saw,
its guess of the finished picture, the noise that it sees, and what guidance changes in the guess."""

SIDE = 256
"""Pixels of the longer side of an animation or of a picture in a strip."""


class Steps:
    """A recording. Raises NotFound if the file cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def about(self) -> dict[str, Any]:
        """The run, its `calls`, the pictures that there are (`shown`), how many `images` a call has and the size of a
        picture (`width`, `height`) in cells."""
        try:
            with safe_open(self.path, "np") as file:
                about = json.loads(file.metadata()["steps"])
                names = file.keys()
                shape = file.get_slice("x").get_shape()
        except Exception as error:  # safetensors has errors of its own
            raise NotFound("This recording is no longer there.") from error
        about |= {"shown": [name for name in SHOWN if f"picture.{name}" in names], "images": shape[1],
                        "height": shape[3], "width": shape[4]}
        return cast(dict[str, Any], about)

    def picture(self, call: int, shown: str, image: int = 0) -> Image.Image:
        """The rough picture of one call, a pixel for each cell. Raises NotFound for one that there is not."""
        if not self._has(call, shown, image):
            raise NotFound("The recording has no such picture.")
        with safe_open(self.path, "np") as file:
            return Image.fromarray(cast(NDArray[np.uint8], file.get_slice(f"picture.{shown}")[call, image]))

    def latent(self, call: int, shown: str, image: int = 0) -> NDArray[np.float32]:
        """What `picture` shows, as the latent itself, (C, h, w). Raises NotFound for one that there is not, and for
        what guidance changes, which is no latent."""
        if shown == "guidance" or not self._has(call, shown, image):
            raise NotFound("The recording has no such latent.")
        level = self.about["calls"][call]

        def read(name: str) -> NDArray[np.float32]:
            with safe_open(self.path, "np") as file:
                return cast(NDArray[np.float32], file.get_slice(name)[call, image])

        if shown == "eps":
            return np.asarray((read("x") - level["signal"] * read("x0")) / level["noise"], np.float32)
        return read(shown)

    def _has(self, call: int, shown: str, image: int) -> bool:
        about = self.about
        return shown in about["shown"] and 0 <= call < len(about["calls"]) and 0 <= image < about["images"]

    def difference(self, other: Steps, call: int, shown: str, image: int = 0) -> Image.Image:
        """`picture` minus that of `other`, about a grey: a colour is stronger where this run has more of it.

        Of `other` the call with the nearest noise level is taken. Raises NotFound, also for other sizes of pictures.
        """
        here = self.picture(call, shown, image)
        there = other.picture(other.nearest(self.about["calls"][call]), shown, image)
        if here.size != there.size:
            raise NotFound("The two runs have pictures of different sizes.")
        change = np.asarray(here, np.int16) - np.asarray(there, np.int16)
        return Image.fromarray((change + 128).clip(0, 255).astype(np.uint8))

    def nearest(self, level: Mapping[str, float]) -> int:
        """The number of the call whose noise level is nearest to `level`, which has its "signal" and "noise"."""
        angle = math.atan2(level["noise"], level["signal"])
        away = [abs(math.atan2(call["noise"], call["signal"]) - angle) for call in self.about["calls"]]
        return away.index(min(away))

    def cell(self, x: int, y: int, image: int = 0) -> dict[str, list[list[float]]]:
        """The values of one cell at every call, by tensor: one list for each call, with one number for each channel.
        Raises NotFound for a cell outside."""
        about = self.about
        if not (0 <= x < about["width"] and 0 <= y < about["height"] and 0 <= image < about["images"]):
            raise NotFound("The recording has no such cell.")
        with safe_open(self.path, "np") as file:
            return {name: file.get_slice(name)[:, image, :, y, x].astype(float).round(5).tolist()
                    for name in ("current", "x", "x0", "guided") if name in file.keys()}  # noqa: SIM118

    def animation(self, shown: str, image: int = 0, milliseconds: int = 120) -> bytes:
        """One picture of each call, one after another, as a lossless WebP. Raises NotFound."""
        frames = [_enlarged(self.picture(call, shown, image)) for call in range(len(self.about["calls"]))]
        buffer = io.BytesIO()
        frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0,
                       lossless=True)
        return buffer.getvalue()

    def strip(self, shown: Sequence[str], image: int = 0, columns: int = 10) -> Image.Image:
        """A row for each name in `shown`, with up to `columns` calls spread evenly from the first to the last. Raises
        NotFound, and InvalidInput for none."""
        if not shown:
            raise InvalidInput("A strip needs at least one row.", field="shown")
        last = len(self.about["calls"]) - 1
        calls = sorted({round(n * last / max(columns - 1, 1)) for n in range(columns)})
        rows = [[_enlarged(self.picture(call, name, image)) for call in calls] for name in shown]
        width, height = rows[0][0].size
        strip = Image.new("RGB", (width * len(calls), height * len(rows)))
        for down, row in enumerate(rows):
            for across, picture in enumerate(row):
                strip.paste(picture, (across * width, down * height))
        return strip


def _enlarged(picture: Image.Image) -> Image.Image:
    """Cells as squares."""
    factor = max(1, SIDE // max(picture.size))
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
