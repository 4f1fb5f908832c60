"""Look inside: the recorded steps of a tab's last job, call by call. A script in the page (`steps_view/`) draws them
from the answers of `/v1/steps`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from modules.jobs.job import Job

ASSETS = Path(__file__).parent / "steps_view"


def build(tab: str) -> gr.HTML:
    """Draw the panel here. It is hidden until a job with recordings is shown."""
    return gr.HTML(value=None, html_template=_asset("view.html"), css_template=_asset("style.css"),
                   js_on_load=_asset("view.js"), apply_default_css=False, elem_id=f"{tab}_look_inside")


def value(job: Job, root_path: str) -> dict[str, Any]:
    """What the panel shows for `job`."""
    return {"root": root_path, "names": [file.stem for file in job.recordings if file.is_file()]}


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")
