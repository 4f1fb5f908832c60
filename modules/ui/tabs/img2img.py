"""The img2img tab: a picture from a picture and a prompt."""

from __future__ import annotations

from typing import Any

import gradio as gr

from modules.ui.canvas.canvas import MaskCanvas, MaskData
from modules.ui.controls import request_panel
from modules.ui.controls.request_panel import Panel
from modules.ui.controls.work_line import WorkLine
from modules.ui.page.events import FOLLOWING
from modules.ui.page.header import Header
from modules.ui.tabs.batch import Batch
from modules.ui.tabs.tab import Tab, connect_generate, draw

CANVAS = "img2img_image"


def build(header: Header, panel: Panel, window: gr.Textbox) -> Tab:
    """Draw the tab here."""
    batch, line = Batch(panel), WorkLine(panel, CANVAS)
    tab = draw(header, panel, window, picture=lambda panel: picture(panel, batch, line))
    assert tab.canvas is not None
    line.connect()

    def follow(picture: MaskData, *arguments: Any) -> str:
        return line.text(picture, arguments, header.engine.options, request_panel.to_img2img)

    gr.on([tab.canvas.change, *(widget.change for widget in line.widgets.values())], follow,
          [tab.canvas, *panel.inputs], line.line, **FOLLOWING)
    batch.connect(tab, header, request_panel.to_img2img)
    return tab


def picture(panel: Panel, batch: Batch, line: WorkLine) -> MaskCanvas:
    """Draw the canvas with the init image, and the widgets below it."""
    with gr.Column(elem_classes="picture"):
        canvas = MaskCanvas(canvas_id="img2img", sketch=True, elem_id=CANVAS,
                            max_pixels=panel.settings.max_image_mp * 10**6)
        line.draw()
    with gr.Column(elem_classes="area-mask"):
        request_panel.resize_mode(panel)
        request_panel.depth_picture(panel)
        batch.draw()
    return canvas


def connect(tab: Tab, header: Header, demo: gr.Blocks) -> None:
    """Connect Generate."""
    connect_generate(tab, header, demo, request_panel.to_img2img)
