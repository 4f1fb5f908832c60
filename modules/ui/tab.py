"""What the tabs have in common, and sending a picture with its parameters from one to another."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from modules import infotext
from modules.errors import NotFound
from modules.options import Options
from modules.ui.canvas import MaskCanvas, MaskData
from modules.ui.controls import Panel
from modules.ui.results import Results, Shown
from modules.ui.words import told


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
