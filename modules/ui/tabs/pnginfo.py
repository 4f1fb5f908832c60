"""The PNG Info tab: shows the parameters in a picture file, and sends the picture and them to another tab."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from modules.errors import InvalidInput, NotFound
from modules.gallery.history import History
from modules.settings import Settings
from modules.text import image_metadata, infotext
from modules.ui.canvas.canvas import MaskData, open_picture
from modules.ui.controls.pasting import is_parameters
from modules.ui.page.component import Image
from modules.ui.page.events import QUIET
from modules.ui.page.header import Header
from modules.ui.page.help import explain
from modules.ui.page.messages import tell
from modules.ui.tabs import doctor, redo
from modules.ui.tabs.redo import Redo
from modules.ui.tabs.results import TO_INPAINT
from modules.ui.tabs.tab import Tab, Target, connect_send
from modules.ui.tabs.tab import show as show_tab

LONGEST_TEXT = 2000
"""The most characters that are shown of a text other than the parameters."""
TARGETS = ("txt2img", "img2img", "inpaint", "extras")


@dataclass(frozen=True)
class PngInfo:
    """The tab's widgets."""

    settings: Settings
    picture: gr.Image
    details: gr.HTML
    text: gr.Textbox
    buttons: dict[str, gr.Button]
    redo: Redo


def build(settings: Settings, history: History) -> PngInfo:
    """Draw the tab here. The source of edits is looked for in `history`."""
    with gr.Row(elem_classes="info-bench"):
        with gr.Column(min_width=300):
            picture = explain(
                Image(label="Source", sources=["upload", "clipboard"], elem_id="pnginfo_image",
                      buttons=["fullscreen"], height="min(62vh, 560px)"),
                "The picture whose parameters are read. Drop, paste or choose one.")
        with gr.Column(min_width=300):
            details = gr.HTML("", elem_id="pnginfo_details", js_on_load=None, apply_default_css=False)
            with gr.Row(elem_classes="tight send-row"):
                buttons = {name: gr.Button(f"Send to {name}", size="sm", interactive=False, min_width=90,
                                           elem_id=f"pnginfo_send_to_{name}") for name in TARGETS}
                explain(buttons["inpaint"], TO_INPAINT)
            text = explain(
                gr.Textbox(label="Parameters", lines=3, max_lines=12, interactive=False, buttons=["copy"],
                           elem_id="pnginfo_text", elem_classes="infotext"),
                "How the picture was made. Copy it to make the picture again.")
            edits = redo.draw(history, settings.max_image_mp * 10**6)
            doctor.draw(settings)
    return PngInfo(settings, picture, details, text, buttons, edits)


def connect(info: PngInfo, tabs_by_name: Mapping[str, Target], tabs: gr.Tabs, header: Header) -> None:
    """Connect the tab."""
    most = info.settings.max_image_mp * 10**6

    def show(file: str | None) -> list[Any]:
        text, details = "", ""
        edits = info.redo.show(None)
        try:
            if file:
                picture = open_picture(Path(file), most)
                text = image_metadata.read(picture)
                details = details_html(text) + others_html(picture.info)
                edits = info.redo.show(Path(file))
        except InvalidInput as error:
            tell(error.message)
            file = None
        return [details, text, *(gr.update(interactive=file is not None) for _ in info.buttons), *edits]

    def source(file: str | None, text: str) -> tuple[MaskData, str]:
        if not file:
            raise NotFound("Choose a picture first.")
        return MaskData(path=Path(file)), text

    info.picture.change(show, info.picture, [info.details, info.text, *info.buttons.values(), *info.redo.outputs],
                        **QUIET)
    inpaint = tabs_by_name["inpaint"]
    assert isinstance(inpaint, Tab)
    info.redo.connect(inpaint, header)
    show_tab("inpaint", info.redo.button.click, tabs)
    for name, button in info.buttons.items():
        connect_send(button, source, [info.picture, info.text], tabs_by_name[name], tabs, header)


def others_html(found: Mapping[Any, Any]) -> str:
    """The file's other texts as HTML, such as the list of postprocessing from Extras."""
    texts = {str(name): text for name, text in found.items()
             if isinstance(text, str) and name != image_metadata.PARAMETERS and text}
    rows = "".join(f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(text[:LONGEST_TEXT])}</dd></div>"
                   for name, text in texts.items())
    return f'<div class="info"><dl translate="no">{rows}</dl></div>' if rows else ""


def details_html(text: str) -> str:
    """A parameters text as HTML: the prompts with headings, then a table of the other keys in the order of the text."""
    if not text:
        return '<p class="info-none">This picture has no parameters in it.</p>'
    if not is_parameters(text):
        return ""
    found = infotext.parse(text)
    prompts = "".join(f'<h3>{label}</h3><p translate="no">{html.escape(found[label])}</p>'
                      for label in ("Prompt", "Negative prompt") if found[label])
    rows = "".join(f"<div><dt>{html.escape(key)}</dt><dd>{html.escape(value)}</dd></div>"
                   for key, value in infotext.pairs(text).items())
    return f'<div class="info">{prompts}<dl translate="no">{rows}</dl></div>'
