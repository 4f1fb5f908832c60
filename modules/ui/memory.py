"""Prompts and control values survive a reload: the browser keeps them, the server never sees them for that."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import gradio as gr

from modules.ui.controls import Panel
from modules.ui.events import QUIET


def remember(loaded: Any, panels: Sequence[Panel]) -> None:
    """Wires the panels: their values are brought back after the event `loaded`, and kept whenever one changes.

    By then the page has the values that it starts with; a control whose start is another one than before starts anew.
    """
    for panel in panels:
        widgets = list(panel.widgets.values())
        call = f"{json.dumps(panel.tab)}, {json.dumps(list(panel.widgets))}, values"
        gr.on([widget.change for widget in widgets], None, widgets, None,
              js=f"(...values) => inpaintPage.remember({call})", **QUIET)
        brought = loaded.then(None, widgets, widgets, js=f"(...values) => inpaintPage.bringBack({call})", **QUIET)
        brought.then(None, js=f"() => inpaintPage.ready({json.dumps(panel.tab)})", **QUIET)
