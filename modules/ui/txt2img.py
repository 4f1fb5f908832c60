"""The txt2img tab: a picture from words."""

from __future__ import annotations

from typing import Any

import gradio as gr

from modules.request import Txt2Img
from modules.ui import controls, examples
from modules.ui.controls import Panel
from modules.ui.header import Header
from modules.ui.results import generate_buttons, results
from modules.ui.tab import Tab


def build(header: Header, panel: Panel, job_id: gr.BrowserState) -> Tab:
    """Draws the tab where it is called."""
    last_seed = gr.State(None)
    with gr.Row(elem_classes="bench two"):
        with gr.Column(elem_classes="area-prompt", min_width=300):
            controls.prompts(panel)
            strip = examples.examples(panel.tab)
            buttons = generate_buttons(panel.tab)
        with gr.Column(elem_classes="area-results", min_width=300):
            shown = results(header.queue, panel.tab, buttons, last_seed, job_id)
        with gr.Column(elem_classes="area-settings", min_width=300):
            controls.sampling(panel, from_picture=False)
            controls.size_and_batch(panel)
            controls.seeds(panel, last_seed)
            controls.advanced(panel, header.engine.options, from_picture=False, mask=False)
    examples.connect(strip, panel.widgets["prompt"])
    return Tab(panel, shown, strip, canvas=None)


def connect(tab: Tab, header: Header, demo: gr.Blocks) -> None:
    """Wires Generate."""

    def make_request(checkpoint: str, vae: str, *arguments: Any) -> Txt2Img:
        return controls.to_txt2img(tab.panel.values(arguments), header.options(checkpoint, vae))

    tab.results.connect(demo, make_request, [header.checkpoint, header.vae, *tab.panel.inputs], header)
