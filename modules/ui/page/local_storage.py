"""Prompts and control values survive a reload: the browser stores them for each window, not the server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import gradio as gr

from modules.ui.controls.request_panel import Panel
from modules.ui.page.events import QUIET


def remember(loaded: Any, panels: Sequence[Panel]) -> None:
    """Restore the panels' values after the event `loaded`, and store them whenever `page.js` clicks the hidden button.

    Restoring runs after the defaults are set. A control whose default has changed since the value was stored keeps the
    new default. Gradio's page is slow for each output of an event, so where nothing was stored there is no event that
    restores. Its `change` events are not used for this: with 140 controls they take a large part of the page's loading
    time.
    """
    controls = {f"{panel.tab}/{name}": widget for panel in panels for name, widget in panel.widgets.items()
                if name != "depth_map" and not name.endswith("_enabled")}
    widgets = list(controls.values())
    call = f"{json.dumps(list(controls))}, values"
    keep = gr.Button("", visible="hidden", elem_id="keep_controls")
    keep.click(None, widgets, None, js=f"(...values) => inpaintPage.keep({call})", **QUIET)
    loaded.then(None, widgets, None, js=f"(...values) => inpaintPage.restore({call})", **QUIET)
    bring = gr.Button("", visible="hidden", elem_id="bring_controls_back")
    brought = bring.click(None, None, widgets, js="() => inpaintPage.bringBack()", **QUIET)
    brought.then(None, js="() => inpaintPage.ready()", **QUIET)
