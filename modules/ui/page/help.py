"""The help texts of the page's controls, shown by `help.js` as tooltips.

A control gets its text where it gets its label: declared fields and inputs have `help`, other widgets are passed to
`explain`.
"""

from __future__ import annotations

import json
from typing import TypeVar

import gradio as gr
from gradio.components import Component

T = TypeVar("T", bound=Component)


def explain(widget: T, help: str) -> T:
    """Give `widget` the text `help`: what it does, then when to change it. It needs an element id. Returns the
    widget."""
    widget.explained = help  # type: ignore[attr-defined]
    return widget


def explained(demo: gr.Blocks) -> dict[str, str]:
    """The texts of all widgets of the page, by element id."""
    return {str(block.elem_id): block.explained for block in demo.blocks.values() if hasattr(block, "explained")}


def hand_over(demo: gr.Blocks) -> None:
    """Hand the texts over to the script. Call this where the last widget has been drawn."""
    gr.HTML("", js_on_load=f"inpaintHelp.add({json.dumps(explained(demo))});", apply_default_css=False,
            elem_id="help_texts", elem_classes="nothing")


def list_button() -> gr.HTML:
    """The button that opens the list of keys and gestures."""
    return gr.HTML('<button type="button" title="Keys and gestures (?)" aria-label="Keys and gestures">?</button>',
                   js_on_load='element.querySelector("button").addEventListener("click", inpaintHelp.openList);',
                   apply_default_css=False, elem_id="help_list", elem_classes="help-list")
