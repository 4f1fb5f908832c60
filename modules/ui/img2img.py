"""The img2img tab: a picture from a picture."""

from __future__ import annotations

from typing import Any

import gradio as gr

from modules.request import Img2Img
from modules.ui import controls, examples
from modules.ui.canvas import MaskCanvas, MaskData
from modules.ui.controls import Panel
from modules.ui.header import Header
from modules.ui.results import generate_buttons, results
from modules.ui.tab import Tab


def build(header: Header, panel: Panel, job_id: gr.BrowserState) -> Tab:
    """Draws the tab where it is called."""
    last_seed = gr.State(None)
    with gr.Row(elem_classes="bench"):
        with gr.Column(elem_classes="area-canvas", min_width=300):
            canvas = MaskCanvas(canvas_id="img2img", plain=True, elem_id="img2img_image", elem_classes="picture",
                                max_pixels=panel.settings.max_image_mp * 10**6)
            with gr.Column(elem_classes="area-mask"):
                controls.resize_mode(panel)
        with gr.Column(elem_classes="area-prompt", min_width=300):
            controls.prompts(panel)
            strip = examples.examples(panel.tab)
            buttons = generate_buttons(panel.tab)
        with gr.Column(elem_classes="area-results", min_width=300):
            shown = results(header.queue, panel.tab, buttons, last_seed, job_id)
        with gr.Column(elem_classes="area-settings", min_width=300):
            controls.sampling(panel, from_picture=True)
            controls.size_and_batch(panel, canvas=canvas)
            controls.seeds(panel, last_seed)
            controls.advanced(panel, header.engine.options, from_picture=True, mask=False)
    examples.connect(strip, panel.widgets["prompt"])
    return Tab(panel, shown, strip, canvas)


def connect(tab: Tab, header: Header, demo: gr.Blocks) -> None:
    """Wires Generate."""
    assert tab.canvas is not None

    def make_request(picture: MaskData, checkpoint: str, vae: str, *arguments: Any) -> Img2Img:
        return controls.to_img2img(tab.panel.values(arguments), picture, header.options(checkpoint, vae))

    tab.results.connect(demo, make_request, [tab.canvas, header.checkpoint, header.vae, *tab.panel.inputs], header)
