"""The inpaint tab: the painted part of a picture is generated."""

from __future__ import annotations

import gradio as gr

from modules.ui.canvas.canvas import MaskCanvas, MaskData
from modules.ui.controls import request_panel
from modules.ui.controls.content_previews import previews_html
from modules.ui.controls.outpaint import Outpainting
from modules.ui.controls.request_panel import MASK_MODES, Panel
from modules.ui.page.events import AT_ONCE, FOLLOWING
from modules.ui.page.header import Header
from modules.ui.tabs.batch import Batch
from modules.ui.tabs.tab import Tab, connect_generate, draw

STARTS_ON_LOAD = """element.addEventListener("click", (event) => {
    const start = event.target.closest("[data-mode]");
    if (start) trigger("click", {mode: start.dataset.mode});
});"""


def build(header: Header, panel: Panel, job_id: gr.BrowserState) -> Tab:
    """Draw the tab here."""
    outpainting, batch = Outpainting(panel), Batch(panel)
    tab = draw(header, panel, job_id, picture=lambda panel: picture(header, panel, outpainting, batch))
    assert tab.canvas is not None
    outpainting.connect(tab.canvas)
    batch.connect(tab, header, request_panel.to_inpaint)
    return tab


def picture(header: Header, panel: Panel, outpainting: Outpainting, batch: Batch) -> MaskCanvas:
    """Draw the canvas and the mask widgets below it."""
    canvas = MaskCanvas(canvas_id="inpaint", elem_id="inpaint_canvas", elem_classes="picture",
                        max_pixels=panel.settings.max_image_mp * 10**6)
    with gr.Column(elem_classes="area-mask"):
        request_panel.masking(panel)
        request_panel.masked_content(panel)
        starts = gr.HTML("", js_on_load=STARTS_ON_LOAD, apply_default_css=False, elem_id="inpaint_starts",
                         elem_classes="starts-strip")
        request_panel.resize_mode(panel)
        outpainting.draw()
        batch.draw(masks=True)
    _connect_starts(panel, header, canvas, starts)
    return canvas


def connect(tab: Tab, header: Header, demo: gr.Blocks) -> None:
    """Connect Generate."""
    connect_generate(tab, header, demo, request_panel.to_inpaint)


def _connect_starts(panel: Panel, header: Header, canvas: MaskCanvas, starts: gr.HTML) -> None:
    """Let the previews of the masked content follow the mask, and let a click on one choose its mode."""
    names = ("mask_invert", "mask_blur", "masked_content")
    widgets = [panel.widgets[name] for name in names]

    def draw_starts(picture: MaskData, mask_mode: str, blur: float | None, chosen: str) -> str:
        # Not while the model is in use by a job: its first preview encodes a picture.
        model = header.engine.loaded.model if header.engine.loaded and header.queue.current is None else None
        return previews_html(picture, MASK_MODES.get(mask_mode, False), int(blur or 0), chosen, model)

    gr.on([canvas.change, *(widget.change for widget in widgets)], draw_starts, [canvas, *widgets], starts, **FOLLOWING)
    starts.click(_mode, None, panel.widgets["masked_content"], **AT_ONCE)


def _mode(event: gr.EventData) -> str:
    return str(event.mode)
