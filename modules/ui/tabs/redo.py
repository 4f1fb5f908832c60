"""On the PNG Info tab: the edits in a picture that was made from a photograph, to be changed and made again."""

from __future__ import annotations

import dataclasses
import hashlib
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from modules.engine import redo
from modules.errors import InvalidInput
from modules.gallery.history import History
from modules.gallery.saving import sidecar_of
from modules.imaging import photograph as photographs
from modules.jobs import replay
from modules.jobs.job import Job, Origin
from modules.jobs.tasks import Carry, Step
from modules.request.photograph import Photograph
from modules.text import edits as record
from modules.text import infotext
from modules.text.edits import Edits, from_json
from modules.ui.page.events import QUIET
from modules.ui.page.header import Header
from modules.ui.page.help import explain
from modules.ui.tabs.tab import Tab

LONGEST_PROMPT = 60


@dataclass(frozen=True)
class Redo:
    """The widgets. `edits` has the record with what was changed in it, `found` the path of the source in the outputs
    folder, "" if it is not there."""

    history: History
    max_pixels: int
    box: gr.Column
    about: gr.HTML
    choice: gr.Dropdown
    text: gr.Textbox
    source: gr.File
    button: gr.Button
    edits: gr.State
    found: gr.State

    @property
    def outputs(self) -> list[Any]:
        """What `show` updates."""
        return [self.box, self.about, self.choice, self.text, self.source, self.edits, self.found]

    def show(self, file: Path | None) -> list[Any]:
        """Show the edits in a picture file, or nothing if it has none. Raises InvalidInput."""
        edits = self._edits(file) if file else None
        if edits is None:
            return [gr.update(visible=False), "", *[gr.skip()] * 3, None, ""]
        found = self.history.find_file(edits.source.sha256, edits.source.nbytes)
        return [gr.update(visible=True), about_html(edits, found), gr.update(choices=choices(edits), value=0),
                edits.steps[0].text, gr.update(value=None, visible=found is None), edits, str(found or "")]

    def _edits(self, file: Path) -> Edits | None:
        data = file.read_bytes()
        record = photographs.read(data, max_pixels=self.max_pixels).record
        if not record:  # it may be beside the same file in the outputs folder
            saved = self.history.find_file(hashlib.sha256(data).hexdigest(), len(data))
            beside = sidecar_of(saved) if saved else None
            record = beside.read_text("ascii", "replace") if beside and beside.is_file() else ""
        return from_json(record) if record else None

    def connect(self, tab: Tab, header: Header) -> None:
        """Connect the widgets. The results of `tab`, the inpaint tab, show what is made."""
        self.choice.change(lambda edits, number: edits.steps[number].text if edits else gr.skip(),
                           [self.edits, self.choice], self.text, **QUIET)
        self.text.input(_changed, [self.edits, self.choice, self.text], self.edits, trigger_mode="always_last", **QUIET)

        def submit(origin: Origin, edits: Edits | None, number: int, text: str, uploaded: str | None,
                   found: str) -> Job:
            edits = _changed(edits, number, text)
            if edits is None:
                raise InvalidInput("This picture has no edits in it.")
            file = Path(found or uploaded or "")
            if not file.name or not file.is_file():
                raise InvalidInput("Choose the photograph that the edits began with first.")
            steps = self._steps(edits, file, header.engine.remove)
            return header.queue.submit_steps(steps, save=header.engine.options.samples_save,
                                             origin=dataclasses.replace(origin, name="Edits"))

        tab.results.watch_click(self.button, submit, [self.edits, self.choice, self.text, self.source, self.found],
                                header)

    def _steps(self, edits: Edits, file: Path, remove: Carry) -> list[Step]:
        """The steps to carry out, those of Remove by `remove`. Raises InvalidInput."""
        def source() -> Photograph:
            try:
                photograph = photographs.read(file.read_bytes(), edits.source.name, self.max_pixels)
            except FileNotFoundError as error:
                raise InvalidInput("The photograph that the edits began with is no longer there.") from error
            redo.check_source(edits, photograph)
            return photograph

        source()  # another file is refused at once
        return replay.steps(edits, source, remove)


def draw(history: History, max_pixels: int) -> Redo:
    """Draw the widgets here. They are hidden until a picture has a record."""
    with gr.Column(visible=False, elem_id="redo") as box:
        about = gr.HTML("", elem_id="redo_about", js_on_load=None, apply_default_css=False)
        choice = explain(gr.Dropdown([], label="Edit", elem_id="redo_step"),
                         "One of the edits that made this picture of the photograph, in their order. Choose one to "
                         "change it.")
        text = explain(gr.Textbox(label="Parameters of this edit", lines=3, max_lines=12, elem_id="redo_text"),
                       "Prompt and parameters of the chosen edit. Change them, and all edits are made again with them; "
                       "empty leaves the edit out.")
        source = explain(gr.File(label="The photograph that the edits began with", file_types=["image"],
                                 type="filepath", height=110, elem_id="redo_source"),
                         "The original file. It is needed because it is not in the history; another file is refused.")
        button = gr.Button("Make the edits again", size="sm", elem_id="redo_button")
    return Redo(history, max_pixels, box, about, choice, text, source, button, gr.State(None), gr.State(""))


def choices(edits: Edits) -> Sequence[tuple[str, int]]:
    """The edits' names in the dropdown, with their numbers from 0."""
    return [(f"{number + 1}. {_name(step)}", number) for number, step in enumerate(edits.steps)]


def _name(step: record.Step) -> str:
    return "Remove" if step.removes else infotext.parse(step.text)["Prompt"][:LONGEST_PROMPT] or "–"


def about_html(edits: Edits, found: Path | None) -> str:
    """The source and the edits as HTML."""
    source = edits.source
    where = found.name if found else source.name or source.sha256[:12]
    rows = "".join(f"<li>{html.escape(name.partition('. ')[2])}</li>" for name, _ in choices(edits))
    return (f'<div class="info"><h3>Edits</h3><p translate="no">{html.escape(where)} · {source.width} × '
            f'{source.height}</p><ol translate="no">{rows}</ol></div>')


def _changed(edits: Edits | None, number: int, text: str) -> Edits | None:
    """`edits` with another text for one of them."""
    if edits is None or not isinstance(number, int) or not 0 <= number < len(edits.steps):
        return edits
    steps = list(edits.steps)
    steps[number] = dataclasses.replace(steps[number], text=text or "")
    return dataclasses.replace(edits, steps=tuple(steps))
