"""What the tabs have in common: their columns, Generate, and sending a picture with its parameters to another tab."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from modules import infotext
from modules.errors import NotFound
from modules.options import Options
from modules.request import Txt2Img
from modules.ui import controls, examples
from modules.ui.canvas import MaskCanvas, MaskData
from modules.ui.controls import Panel
from modules.ui.header import Header
from modules.ui.results import Results, Shown, generate_buttons, results
from modules.ui.words import told

MakeRequest = Callable[[Mapping[str, Any], MaskData, Options], Txt2Img]
"""(the panel's values by name, the canvas's value, the options in force) -> the request. Raises InvalidInput."""


@dataclass(frozen=True)
class Tab:
    """One tab: its widgets, its results, its strip of examples, and where its picture goes (txt2img has none)."""

    panel: Panel
    results: Results
    examples: gr.HTML
    canvas: MaskCanvas | None

    @property
    def name(self) -> str:
        """ "txt2img", "img2img" or "inpaint"."""
        return self.panel.tab


def draw(header: Header, panel: Panel, job_id: gr.BrowserState, *,
         picture: Callable[[Panel], MaskCanvas] | None = None, folds: Callable[[Panel], None] | None = None) -> Tab:
    """Draws a tab where it is called.

    `picture` draws the canvas and what belongs under it; `folds` draws the settings that only this tab has.
    """
    last_seed = gr.State(None)
    canvas = None
    with gr.Row(elem_classes="bench" if picture else "bench two"):
        if picture:
            with gr.Column(elem_classes="area-canvas", min_width=300):
                canvas = picture(panel)
        with gr.Column(elem_classes="area-prompt", min_width=300):
            controls.prompts(panel)
            strip = examples.examples(panel.tab)
            buttons = generate_buttons(panel.tab)
        with gr.Column(elem_classes="area-results", min_width=300):
            shown = results(header.queue, panel.tab, buttons, last_seed, job_id)
        with gr.Column(elem_classes="area-settings", min_width=300):
            controls.sampling(panel)
            controls.size_and_batch(panel, canvas=canvas)
            controls.seeds(panel, last_seed)
            if folds:
                folds(panel)
            controls.advanced(panel, header.engine.options)
    examples.connect(strip, panel.widgets["prompt"])
    return Tab(panel, shown, strip, canvas)


def connect_generate(tab: Tab, header: Header, demo: gr.Blocks, make_request: MakeRequest) -> None:
    """Wires Generate: it submits what `make_request` makes of the tab's widgets."""
    pictures = [tab.canvas] if tab.canvas else []

    def request_of(*arguments: Any) -> Txt2Img:
        picture = arguments[0] if pictures else MaskData()
        checkpoint, vae, *values = arguments[len(pictures):]
        return make_request(tab.panel.values(values), picture, header.options(checkpoint, vae))

    tab.results.connect(demo, request_of, [*pictures, header.checkpoint, header.vae, *tab.panel.inputs], header)


def connect_sending(sender: Tab, tabs_by_name: Mapping[str, Tab], tabs: gr.Tabs) -> None:
    """Wires the "send to" buttons of `sender`."""
    for name, button in sender.results.send_buttons.items():
        target = tabs_by_name[name]
        assert target.canvas is not None, f"{name} has no place for a picture"
        button.click(_sending(target),
                     [sender.results.shown, sender.results.selected, target.panel.widgets["seed_locked"]],
                     [tabs, target.canvas, *target.panel.inputs], show_progress="hidden", api_visibility="private")


def _sending(target: Tab) -> Any:
    """The handler that puts the shown picture and its parameters into `target` and opens it."""

    @told
    def send(shown: list[Shown], index: int, locked: bool) -> list[Any]:
        if not shown:
            raise NotFound("There is no picture to send yet.")
        one = shown[min(index, len(shown) - 1)]
        changes = infotext.to_changes(infotext.parse(one.infotext))
        options = Options().replaced(changes.options)  # the text's strings become numbers
        return [gr.Tabs(selected=target.name), picture_of(one.image),
                *target.panel.updates(changes.fields | dataclasses.asdict(options), locked=locked)]

    return send


def picture_of(image: Image.Image | Path) -> MaskData:
    """A result as the canvas takes it. Raises NotFound when its file has been deleted."""
    if isinstance(image, Path):
        if not image.is_file():
            raise NotFound(f"The file {image.name} is no longer there.")
        return MaskData(path=image)
    return MaskData(image=image)
