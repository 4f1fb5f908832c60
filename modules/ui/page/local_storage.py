"""Prompts and control values survive a reload: the browser keeps them, the server never sees them for that."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import gradio as gr

from modules.ui.controls.request_panel import Panel
from modules.ui.page.events import QUIET


def remember(loaded: Any, panels: Sequence[Panel]) -> None:
    """Wires the panels: their values are brought back after the event `loaded`, and kept whenever `page.js` asks.

    By then the page has the values that it starts with; a control whose start is another one than before starts anew.
    Gradio's own event of each control's change is not used: with 140 controls, looking for who listens takes it a good
    part of the time that the page takes to load.
    """
    controls = {f"{panel.tab}/{name}": widget for panel in panels for name, widget in panel.widgets.items()}
    widgets = list(controls.values())
    call = f"{json.dumps(list(controls))}, values"
    keep = gr.Button("", visible="hidden", elem_id="keep_controls")
    keep.click(None, widgets, None, js=f"(...values) => inpaintPage.keep({call})", **QUIET)
    brought = loaded.then(None, widgets, widgets, js=f"(...values) => inpaintPage.bringBack({call})", **QUIET)
    brought.then(None, js="() => inpaintPage.ready()", **QUIET)
