"""The img2img tab: a picture from a picture and a prompt."""

from __future__ import annotations

import gradio as gr

from modules.ui.canvas.canvas import MaskCanvas
from modules.ui.controls import request_panel
from modules.ui.controls.request_panel import Panel
from modules.ui.page.header import Header
from modules.ui.tabs.batch import Batch
from modules.ui.tabs.tab import Tab, connect_generate, draw


def build(header: Header, panel: Panel, job_id: gr.BrowserState) -> Tab:
    """Draw the tab here."""
    batch = Batch(panel)
    tab = draw(header, panel, job_id, picture=lambda panel: picture(panel, batch))
    batch.connect(tab, header, request_panel.to_img2img)
    return tab


def picture(panel: Panel, batch: Batch) -> MaskCanvas:
    """Draw the canvas with the init image, and the widgets below it."""
    canvas = MaskCanvas(canvas_id="img2img", sketch=True, elem_id="img2img_image", elem_classes="picture",
                        max_pixels=panel.settings.max_image_mp * 10**6)
    with gr.Column(elem_classes="area-mask"):
        request_panel.resize_mode(panel)
        batch.draw()
    return canvas


def connect(tab: Tab, header: Header, demo: gr.Blocks) -> None:
    """Connect Generate."""
    connect_generate(tab, header, demo, request_panel.to_img2img)
