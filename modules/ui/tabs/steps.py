"""Look inside: the recorded steps of a tab's last job, call by call. A script in the page (`steps_view/`) draws them
from the answers of `/v1/steps`."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from modules.ui.page.component import assets

_asset = assets(Path(__file__).parent / "steps_view")


def build(tab: str) -> gr.HTML:
    """Draw the panel here. It is hidden until its value {"root", "names"} names recordings of a job."""
    return gr.HTML(value=None, html_template=_asset("view.html"), css_template=_asset("style.css"),
                   js_on_load=_asset("view.js"), apply_default_css=False, elem_id=f"{tab}_look_inside")
