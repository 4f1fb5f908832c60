"""The Script dropdown of a tab and the controls of the script that is chosen, drawn from what the script declares.

It is one component: the controls are drawn by the page's script (`script/form.js`), so that a tab's many scripts cost
nothing until one is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import GradioModel
from pydantic import Field

from modules.engine import Engine
from modules.errors import InvalidInput
from modules.request import ScriptCall, Txt2Img
from modules.scripts.axes import axes
from modules.scripts.script import Input, Script
from modules.ui.canvas import WithoutStub
from modules.ui.controls import Panel

ASSETS = Path(__file__).parent / "script"
NONE = "None"


class Choice(GradioModel):
    """The chosen script, "None" for none, and its inputs by name; those left out have their defaults."""

    title: str = NONE
    arguments: dict[str, Any] = Field(default_factory=dict)


class ScriptForm(gr.HTML, metaclass=WithoutStub):
    """The dropdown and the controls. Its value in Python is a `Choice`."""

    data_model = Choice

    def __init__(self, value: Choice | None = None, *, engine: Engine | None = None, img2img: bool = False,
                 **kwargs: Any) -> None:
        scripts = engine.scripts.of(img2img=img2img) if engine else []

        def axis_values(label: str) -> list[str]:
            """What can be chosen on that axis of the X/Y/Z plot; nothing where values are written."""
            axis = next((axis for axis in axes(img2img=img2img) if axis.label == label), None)
            return list(axis.choices(engine.available)) if engine and axis and axis.choices else []

        super().__init__(
            value=value or Choice(), html_template='<div class="script-form"></div>',
            css_template=(ASSETS / "form.css").read_text("utf-8"), js_on_load=(ASSETS / "form.js").read_text("utf-8"),
            apply_default_css=False, server_functions=[axis_values],
            scripts=[_declaration(script, engine) for script in scripts if engine], **kwargs)

    def preprocess(self, payload: Choice | None) -> Choice:  # type: ignore[override]
        """The choice as the page has it."""
        return payload or Choice()

    def postprocess(self, value: Choice | None) -> Choice:  # type: ignore[override]
        """What the page is to show."""
        return value or Choice()

    def api_info(self) -> dict[str, Any]:
        return Choice.model_json_schema()

    def example_payload(self) -> Any:
        return Choice().model_dump()

    def example_value(self) -> Any:
        return None


def draw(panel: Panel, engine: Engine) -> None:
    """Draws the form where it is called."""
    panel.add("script", ScriptForm(engine=engine, img2img=panel.from_picture, elem_id=panel.elem_id("script"),
                                   elem_classes="script"))


def with_script(request: Txt2Img, values: Mapping[str, Any], panel: Panel, engine: Engine) -> Txt2Img:
    """`request` with the script that the panel's values choose. Raises InvalidInput."""
    choice: Choice = values["script"]
    if choice.title == NONE:
        return request
    script = engine.scripts.find(choice.title, img2img=panel.from_picture)
    arguments = tuple(choice.arguments.get(one.name, one.default) for one in script.inputs)
    script.bind(arguments, engine.available)
    return replace(request, script=ScriptCall(script.title, arguments))


def choice_of(call: ScriptCall | None, panel: Panel, engine: Engine) -> Choice:
    """`call` as the form shows it; none where the tab has no such script, or its arguments make no sense."""
    if call is None:
        return Choice()
    try:
        script = engine.scripts.find(call.title, img2img=panel.from_picture)
        arguments = script.bind(call.arguments, engine.available)
    except InvalidInput:
        return Choice()
    return Choice(title=script.title, arguments={name: list(value) if isinstance(value, tuple) else value
                                                 for name, value in arguments.items()})


def _declaration(script: Script, engine: Engine) -> dict[str, Any]:
    """A script as the form's script reads it."""
    return {"title": script.title, "inputs": [_input(one, engine) for one in script.inputs if not one.hidden]}


def _input(one: Input, engine: Engine) -> dict[str, Any]:
    choices = [label for label in one.labels(engine.available) if label not in one.absent]
    value = list(one.default) if isinstance(one.default, tuple) else one.default
    return {"name": one.name, "label": one.label, "kind": one.kind, "value": value, "low": one.low, "high": one.high,
            "step": one.step, "choices": choices}
