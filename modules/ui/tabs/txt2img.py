"""The txt2img tab: a picture from a prompt."""

from __future__ import annotations

import gradio as gr

from modules.ui.controls import request_panel
from modules.ui.controls.request_panel import Panel
from modules.ui.page.header import Header
from modules.ui.tabs.tab import Tab, connect_generate, draw


def build(header: Header, panel: Panel, window: gr.Textbox) -> Tab:
    """Draw the tab here."""
    return draw(header, panel, window)


def connect(tab: Tab, header: Header, demo: gr.Blocks) -> None:
    """Connect Generate."""
    connect_generate(tab, header, demo, lambda values, picture, options: request_panel.to_txt2img(values, options))
