"""Batch: many uploaded files are processed one after another with the settings of the tab."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from modules.base.files import file_version
from modules.errors import InvalidInput
from modules.imaging.mask import to_luminance
from modules.jobs.job import Job, Origin
from modules.jobs.tasks import Task
from modules.request import Txt2Img
from modules.ui.canvas.canvas import MaskData, open_picture
from modules.ui.controls import scripts
from modules.ui.controls.prompts import styled
from modules.ui.controls.request_panel import Panel
from modules.ui.page.events import QUIET
from modules.ui.page.header import Header
from modules.ui.page.help import explain
from modules.ui.tabs.tab import MakeRequest, Tab

MOST_FILES = 500


@dataclass
class Batch:
    """The accordion with the files and the button. Call `draw` below the canvas, and `connect` after the whole tab."""

    panel: Panel
    widgets: dict[str, Any] = field(default_factory=dict)

    def draw(self, *, masks: bool = False) -> None:
        """Draw the accordion here. With `masks` (on the inpaint tab) it has a file input for masks, and words
        for them."""
        name = self.panel.elem_id
        with gr.Accordion("Batch", open=False, elem_classes="fold", elem_id=name("batch")):
            files = explain(
                gr.File(label="Pictures", file_count="multiple", file_types=["image"], type="filepath", height=140,
                        elem_id=name("batch_files")),
                "The pictures to work on one after another with this tab's settings.")
            folder = gr.UploadButton("Add a folder", file_count="directory", type="filepath", size="sm",
                                     elem_id=name("batch_folder"))
            if masks:
                self.widgets["masks"] = explain(
                    gr.File(label="Masks of the same names (without one, the painted mask is used)",
                            file_count="multiple", file_types=["image"], type="filepath", height=140,
                            elem_id=name("batch_masks")),
                    "A mask for each picture, white where it is painted.")
                self.widgets["words"] = explain(
                    gr.Textbox(label="Masks by words", placeholder="the dog, the bench", max_length=500,
                               elem_id=name("batch_words")),
                    "What is painted in each picture without a mask file. It needs a network in models/grounding.")
            button = gr.Button("Generate batch", size="sm", elem_id=name("batch_generate"))
        self.widgets |= {"files": files, "folder": folder, "button": button}

    def connect(self, tab: Tab, header: Header, make_request: MakeRequest) -> None:
        """Connect the accordion: the files become one job of the queue, which the tab's results watch."""
        files, folder = self.widgets["files"], self.widgets["folder"]
        folder.upload(lambda old, new: [*(old or []), *pictures_of(new)], [files, folder], files, **QUIET)
        masks = [self.widgets[name] for name in ("masks", "words") if name in self.widgets]
        control = tab.control
        inputs = [files, *masks, tab.canvas, *control.canvases, header.checkpoint, header.vae, *self.panel.inputs]

        def submit(origin: Origin, *arguments: Any) -> Job:
            chosen, *rest = arguments
            (mask_files, words), rest = (rest[:2], rest[2:]) if masks else ((None, ""), rest)
            canvas, *rest = rest
            followed, (checkpoint, vae, *values) = rest[:len(control.canvases)], rest[len(control.canvases):]
            if canvas.problem and masks and not mask_files and not words:
                raise InvalidInput(canvas.problem)
            if words:
                header.engine.grounding.check(words)
            named, options = styled(self.panel.values(values), self.panel), header.options(checkpoint, vae)
            units = control.units(named, followed)

            def said(file: Path, image: Image.Image) -> Image.Image:
                return header.engine.grounding.mask((file, file_version(file)), lambda: image, words,
                                                    options.mask_words_threshold)

            def request_of(picture: MaskData) -> Txt2Img:
                request = replace(make_request(named, picture, options), control_units=units,
                                  detail=tab.detail.passes(named))
                return scripts.with_script(request, named, self.panel, header.engine)

            return header.queue.submit_tasks(self.tasks(
                chosen or [], mask_files or [], canvas.mask, request_of, needs_mask=bool(masks),
                by_words=said if words else None),
                save=options.samples_save, origin=replace(origin, name="Batch"))

        tab.results.watch_click(self.widgets["button"], submit, inputs, header)

    def tasks(self, files: Sequence[str], mask_files: Sequence[str], painted: Image.Image | None,
              make_request: Callable[[MaskData], Txt2Img], *, needs_mask: bool,
              by_words: Callable[[Path, Image.Image], Image.Image] | None = None) -> list[Task]:
        """One task for each file, sorted by name. A file is opened when its task starts, and then `by_words` makes its
        mask if there is no file of it. Raises InvalidInput."""
        if not files:
            raise InvalidInput("Choose the pictures of the batch first.")
        if len(files) > MOST_FILES:
            raise InvalidInput(f"These are {len(files)} files; {MOST_FILES} are the most for one batch.")
        by_stem = {Path(file).stem: Path(file) for file in mask_files}

        def request_of(file: Path) -> Txt2Img:
            image = self._open(file)
            mask = None
            if needs_mask:
                other = by_stem.get(file.stem)
                mask = to_luminance(self._open(other), hard=False) if other else painted
                mask = by_words(file, image) if by_words and not other else fitting_mask(mask, image.size)
            return make_request(MaskData(image=image, mask=mask, path=file))

        return [Task(file.name, _later(request_of, file)) for file in sorted(map(Path, files), key=lambda it: it.name)]

    def _open(self, file: Path) -> Image.Image:
        return open_picture(file, self.panel.settings.max_image_mp * 10**6)


def fitting_mask(mask: Image.Image | None, size: tuple[int, int]) -> Image.Image:
    """The L mask stretched to a picture's `size` (width, height). Raises InvalidInput if there is none."""
    if mask is None:
        raise InvalidInput("There is no mask for it: paint one on the canvas, or add a mask file of the same name.")
    return mask if mask.size == size else mask.resize(size, Image.Resampling.BILINEAR)


def pictures_of(files: Sequence[str] | None) -> list[str]:
    """The files with the extension of a picture format."""
    known = Image.registered_extensions()
    return [file for file in files or [] if Path(file).suffix.lower() in known]


def _later(request_of: Callable[[Path], Txt2Img], file: Path) -> Callable[[], Txt2Img]:
    return lambda: request_of(file)
