"""The inpaint tab: the painted part of a picture is generated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from modules.ui.canvas.canvas import MaskCanvas, MaskData
from modules.ui.controls import request_panel
from modules.ui.controls.content_previews import previews_html
from modules.ui.controls.masks import Masks
from modules.ui.controls.outpaint import Outpainting
from modules.ui.controls.request_panel import MASK_MODES, Panel
from modules.ui.controls.work_line import WorkLine
from modules.ui.page.events import AT_ONCE, FOLLOWING
from modules.ui.page.header import Header
from modules.ui.tabs import keep
from modules.ui.tabs.batch import Batch
from modules.ui.tabs.live import Live
from modules.ui.tabs.remove import Remove
from modules.ui.tabs.tab import Tab, connect_generate, draw

CANVAS = "inpaint_canvas"
STARTS_ON_LOAD = """element.addEventListener("click", (event) => {
    const start = event.target.closest("[data-mode]");
    if (start) trigger("click", {mode: start.dataset.mode});
});"""


def build(header: Header, panel: Panel, window: gr.Textbox) -> Tab:
    """Draw the tab here."""
    outpainting, batch, line, remove = Outpainting(panel), Batch(panel), WorkLine(panel, CANVAS), Remove()
    live = Live(header.queue, panel.tab)
    starts = gr.HTML("", js_on_load=STARTS_ON_LOAD, apply_default_css=False, elem_id="inpaint_starts",
                     elem_classes="starts-strip", render=False)
    tab = replace(draw(header, panel, window, picture=lambda panel: picture(
        header, panel, outpainting, batch, line, starts, remove, live)), live=live)
    assert tab.canvas is not None
    _connect_following(panel, header, tab.canvas, line, starts)
    outpainting.connect(tab.canvas)
    batch.connect(tab, header, request_panel.to_inpaint)
    remove.connect(tab, header)
    keep.connect(tab, header)
    return tab


def picture(header: Header, panel: Panel, outpainting: Outpainting, batch: Batch, line: WorkLine, starts: gr.HTML,
            remove: Remove, live: Live) -> MaskCanvas:
    """Draw the canvas and the mask widgets below it."""
    with gr.Column(elem_classes="picture"):
        canvas = MaskCanvas(canvas_id="inpaint", elem_id=CANVAS, max_pixels=panel.settings.max_image_mp * 10**6,
                            masks=Masks(header.engine, header.queue))
        line.draw()
    with gr.Column(elem_classes="area-mask"):
        remove.draw()
        live.draw()
        request_panel.masking(panel)
        request_panel.masked_content(panel)
        starts.render()  # type: ignore[no-untyped-call]
        request_panel.resize_mode(panel)
        request_panel.depth_picture(panel)
        outpainting.draw()
        batch.draw(masks=True)
    return canvas


def connect(tab: Tab, header: Header, demo: gr.Blocks) -> None:
    """Connect Generate."""
    connect_generate(tab, header, demo, request_panel.to_inpaint)


def _connect_following(panel: Panel, header: Header, canvas: MaskCanvas, line: WorkLine, starts: gr.HTML) -> None:
    """Let the line and the previews of the masked content follow the mask, and connect their buttons.

    Both are outputs of one event: after a FOLLOWING event Gradio repeats every other one of the same control.
    """

    def follow(picture: MaskData, *arguments: Any) -> tuple[str, str]:
        named = dict(zip(panel.widgets, arguments, strict=True))
        # Not while the model is in use by a job: its first preview encodes a picture.
        model = header.engine.loaded.model if header.engine.loaded and header.queue.current is None else None
        previews = previews_html(picture, MASK_MODES.get(named["mask_invert"], False), int(named["mask_blur"] or 0),
                                 named["masked_content"], model)
        return line.text(picture, arguments, header.engine.options, request_panel.to_inpaint), previews

    changing = {**line.widgets, "masked_content": panel.widgets["masked_content"]}
    gr.on([canvas.change, *(widget.change for widget in changing.values())], follow, [canvas, *panel.inputs],
          [line.line, starts], **FOLLOWING)
    starts.click(_mode, None, panel.widgets["masked_content"], **AT_ONCE)
    line.connect()


def _mode(event: gr.EventData) -> str:
    return str(event.mode)
