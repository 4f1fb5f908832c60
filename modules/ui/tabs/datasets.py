"""What the Train tab's script asks of the folders of pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gradio.utils import get_upload_folder

from modules.errors import InvalidInput
from modules.imaging.resize import Box
from modules.request.request import read_box
from modules.training.dataset import Size, check_crop, mask_file, open_mask, open_picture, read_crop
from modules.training.folders import Entry, Folders, buckets
from modules.ui.canvas.canvas import MaskCanvas, MaskData, decode_mask
from modules.ui.controls.describe import described
from modules.ui.controls.masks import Masks
from modules.ui.page.header import Header
from modules.ui.page.messages import answered

SIDE, STEP = 512, 64
"""By which sizes are shown for a checkpoint of another size."""

Question = Mapping[str, Any]
Answer = dict[str, Any]


class Datasets:
    """The folders of pictures, and the canvas on which masks are painted. Its methods answer the script, each with one
    JSON object; `folder` and `picture` in a question are names."""

    def __init__(self, header: Header) -> None:
        self._header, self._settings = header, header.engine.settings
        self._folders = Folders(self._settings.datasets_dir)
        self._canvas = MaskCanvas(canvas_id="", fixed=True, masks=Masks(header.engine, header.queue),
                                  max_pixels=self._settings.max_image_mp * 10**6, render=False)

    def answers(self) -> list[Callable[[Any], Answer]]:
        """The functions that the script calls, those of the canvas among them."""
        return [*(answered(function) for function in (
            self.lists, self.folder, self.new_folder, self.add, self.remove, self.write, self.caption, self.canvas,
            self.opened, self.mark, self.unmark)), *self._canvas.server_fns]

    def lists(self, question: Question) -> Answer:
        """The names that can be chosen."""
        engine = self._header.engine
        engine.catalog.refresh()
        describers = engine.describers
        return {"folders": self._folders.names(), "checkpoints": [one.name for one in engine.catalog.checkpoints()],
                "describers": [*describers.captioners(), *describers.taggers.files()]}

    def folder(self, question: Question) -> Answer:
        """The pictures of a folder, and in which sizes they are trained."""
        name = str(question.get("folder"))
        entries = self._folders.entries(name)
        return {"pictures": [_shown(self._settings.root_path, name, entry) for entry in entries],
                "sizes": [{"size": f"{width} x {height}", "count": count}
                          for (width, height), count in sorted(buckets(entries, SIDE, STEP).items())]}

    def new_folder(self, question: Question) -> Answer:
        """A new folder."""
        self._folders.add(str(question.get("folder")).strip())
        return {"folders": self._folders.names()}

    def add(self, question: Question) -> Answer:
        """Add uploaded `files`."""
        files = [(str(one.get("name")), _uploaded(str(one.get("path"))).read_bytes())
                 for one in question.get("files", [])]
        self._folders.add_pictures(str(question.get("folder")), files)
        return self.folder(question)

    def remove(self, question: Question) -> Answer:
        """Put a picture aside."""
        self._folders.remove(str(question.get("folder")), [str(question.get("picture"))])
        return self.folder(question)

    def write(self, question: Question) -> Answer:
        """Write `captions` by the pictures' names."""
        captions = {str(name): str(text) for name, text in question.get("captions", {}).items()}
        self._folders.write_captions(str(question.get("folder")), captions)
        return {}

    def caption(self, question: Question) -> Answer:
        """Let the `describer` write a picture's caption."""
        name, picture = _named(question)
        image = open_picture(self._folders.picture(name, picture))
        words = described(image, str(question.get("describer")), self._header.engine, self._header.queue)
        self._folders.write_captions(name, {picture: words})
        return {"caption": words}

    def canvas(self, question: Question) -> Answer:
        """What the canvas is drawn of."""
        return dict(self._canvas.sources())

    def opened(self, question: Question) -> Answer:
        """A picture and its mask as a value of the canvas, and the box (left, top, right, bottom) of its crop."""
        path = self._folders.picture(*_named(question))
        image, mask = open_picture(path), mask_file(path)
        value = self._canvas.showing(MaskData(image, open_mask(mask, image.size) if mask.is_file() else None))
        assert value.image is not None
        value.image.url = f"{self._settings.root_path}/gradio_api/file={value.image.path}"
        return {"value": value.model_dump(), "crop": _crop(path, image.size)}

    def mark(self, question: Question) -> Answer:
        """Write a picture's `mask`, a data URL or null, and its `crop`, a text like 612x512+40+20."""
        name, picture = _named(question)
        crop, mask = read_box(str(question.get("crop"))), question.get("mask")
        if crop is None:
            raise InvalidInput("The frame is no part of the picture.")
        self._folders.write_crop(name, picture, crop)
        self._folders.write_mask(name, picture, decode_mask(str(mask), self._folders.size(name, picture))
                                 if mask else None)
        return self.folder(question)

    def unmark(self, question: Question) -> Answer:
        """Put a picture's mask or crop aside, as `what` says."""
        take_away = self._folders.write_mask if question.get("what") == "mask" else self._folders.write_crop
        take_away(*_named(question), None)
        return self.folder(question)


def _named(question: Question) -> tuple[str, str]:
    """The names of the folder and of the picture."""
    return str(question.get("folder")), str(question.get("picture"))


def _crop(picture: Path, size: Size) -> Box:
    """What of a picture is trained. It is all of it where the crop's file is wrong: the table says so, and the canvas
    mends it."""
    try:
        crop = read_crop(picture)
        check_crop(crop, picture, size)
    except InvalidInput:
        crop = None
    return crop or (0, 0, *size)


def _shown(root: str, folder: str, entry: Entry) -> Answer:
    stat = entry.path.stat()
    return {"name": entry.path.name, "size": _written(entry.size), "caption": entry.caption,
            "alike": entry.alike, "problem": entry.problem, "masked": entry.masked,
            "crop": _written(entry.trained_size) if entry.crop else "",
            "address": f"{root}/datasets/pictures/{quote(folder, safe='')}/{quote(entry.path.name, safe='')}"
                       f"?{stat.st_mtime_ns}"}


def _written(size: Size) -> str:
    return f"{size[0]} x {size[1]}"


def _uploaded(path: str) -> Path:
    """A file that the page has uploaded. Raises InvalidInput for any other."""
    if "\0" not in path:  # with which nothing can be asked of the file system
        found = Path(path).resolve()
        if found.is_relative_to(Path(get_upload_folder()).resolve()) and found.is_file():
            return found
    raise InvalidInput("Only files that were uploaded here are opened.")
