"""What programs and people rely on: the HTTP API's bodies, the flags, the axes and the number widgets.

`surfaces.json` holds them. It is changed by hand where such a change is meant.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from modules import cli
from modules.api.schema import Img2ImgBody, Txt2ImgBody
from modules.engine.engine import Engine
from modules.jobs.queue import JobQueue
from modules.scripts.axes import AXES
from modules.ui.controls.numbers import Number, Slider
from modules.ui.controls.request_panel import Panel
from modules.ui.page.header import Header
from modules.ui.tabs import img2img, inpaint, txt2img

RECORDED: dict[str, Any] = json.loads(Path(__file__).with_name("surfaces.json").read_text("utf-8"))
TABS = {"txt2img": txt2img, "img2img": img2img, "inpaint": inpaint}


@pytest.mark.parametrize("body", [Txt2ImgBody, Img2ImgBody])
def test_the_bodies_of_the_http_api(body: type[Txt2ImgBody]) -> None:
    schema = body.model_json_schema()
    assert schema["properties"] == RECORDED["bodies"][body.__name__]
    assert schema.get("required") is None


@pytest.mark.parametrize("command", TABS)
def test_the_flags(command: str) -> None:
    (commands,) = (action for action in cli._parser()._actions if isinstance(action, argparse._SubParsersAction))
    flags = [[*action.option_strings, action.metavar, action.dest, action.default,
              getattr(action.type, "__name__", None), action.choices and list(action.choices), action.required,
              action.nargs, action.help]
             for action in commands.choices[command]._actions]
    assert flags == RECORDED["flags"][command]


def test_the_axes() -> None:
    axes = [[axis.label, axis.kind, axis.cost, axis.bare, axis.txt2img, axis.img2img, axis.apply is not None,
             axis.choices is not None] for axis in AXES]
    assert axes == RECORDED["axes"]


@pytest.mark.parametrize("tab", TABS)
def test_the_number_widgets(tab: str, engine: Engine, queue: JobQueue) -> None:
    with gr.Blocks():
        header, _ = Header.build(engine, queue)
        panel = TABS[tab].build(header, Panel(tab, engine.settings), gr.BrowserState("")).panel
    widgets = [[name, widget.label, widget.minimum, widget.maximum, widget.step, widget.value, widget.info,
                widget.min_width]
               for name, widget in panel.widgets.items() if isinstance(widget, Slider | Number)]
    assert widgets == RECORDED["numbers"][tab]
    assert list(panel.widgets) == RECORDED["widgets"][tab]
