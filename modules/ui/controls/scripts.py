"""The Script dropdown of a tab with the controls of the chosen script, and the controls of extensions with their
switches.

A form is one component. Its controls are drawn from their declaration by a script in the page (`script/form.js`), so
that a tab's many scripts cost nothing until one is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import gradio as gr
from gradio.data_classes import GradioModel
from pydantic import Field

from modules.engine.engine import Engine
from modules.errors import InvalidInput
from modules.hooks.forms import Controls, Form, Input
from modules.request import ScriptCall, Txt2Img
from modules.scripts.axes import axes
from modules.ui.controls.request_panel import Panel
from modules.ui.page.component import WithoutStub, assets

_asset = assets(Path(__file__).parent / "script")
NONE = "None"


class Choice(GradioModel):
    """The chosen script, or "None", and the values of its inputs by name. Missing inputs have their defaults."""

    title: str = NONE
    arguments: dict[str, Any] = Field(default_factory=dict)


class ScriptForm(gr.HTML, metaclass=WithoutStub):
    """The controls of one of `forms`, below a `lead`. Its value in Python is a `Choice`.

    The lead is a dropdown with all forms, or a switch for the only form. Without a lead the only form is always shown.
    """

    data_model = Choice

    def __init__(self, value: Choice | None = None, *, engine: Engine | None = None, forms: Sequence[Form] = (),
                 lead: Literal["dropdown", "switch", ""] = "dropdown", img2img: bool = False, **kwargs: Any) -> None:
        def axis_values(label: str) -> list[str]:
            """The choices of that axis of the X/Y/Z plot. Empty if its values are typed."""
            axis = next((axis for axis in axes(img2img=img2img) if axis.label == label), None)
            return list(axis.choices(engine.available)) if engine and axis and axis.choices else []

        def live_choices(name: str) -> list[str]:
            """What the input of that name offers now."""
            one = next((one for form in forms for one in form.inputs if one.name == name and callable(one.choices)),
                       None)
            return one.labels(engine.available) if engine and one else []

        super().__init__(
            value=value or Choice(), html_template='<div class="script-form"></div>',
            css_template=_asset("form.css"),
            js_on_load="".join(_asset(name) for name in ("inputs.js", "form.js")),
            apply_default_css=False, server_functions=[axis_values, live_choices],
            lead=lead, scripts=[_declaration(form, engine) for form in forms if engine], **kwargs)

    def preprocess(self, payload: Choice | None) -> Choice:  # type: ignore[override]
        """The choice from the page."""
        return payload or Choice()

    def postprocess(self, value: Choice | None) -> Choice:  # type: ignore[override]
        """The choice for the page."""
        return value or Choice()

    def api_info(self) -> dict[str, Any]:
        return Choice.model_json_schema()

    def example_payload(self) -> Any:
        return Choice().model_dump()

    def example_value(self) -> Any:
        return None


def draw(panel: Panel, engine: Engine) -> None:
    """Draw the forms here: the extensions' switches, then the Script dropdown."""
    for extension, form in engine.extensions.controls(panel.tab).items():
        panel.add(_name(form), ScriptForm(engine=engine, forms=[form], lead="switch", elem_classes="script",
                                          elem_id=panel.elem_id(f"extension_{extension}")))
    panel.add("script", ScriptForm(engine=engine, forms=engine.scripts.of(img2img=panel.from_picture),
                                   img2img=panel.from_picture, elem_id=panel.elem_id("script"), elem_classes="script"))


def with_script(request: Txt2Img, values: Mapping[str, Any], panel: Panel, engine: Engine) -> Txt2Img:
    """`request` with the script that is chosen in the panel and the extensions that are switched on.

    Raises InvalidInput.
    """
    request = replace(request, always_on=tuple(
        _call(form, values[_name(form)]) for form in engine.extensions.controls(panel.tab).values()
        if values[_name(form)].title != NONE))
    engine.extensions.bound(request)
    choice: Choice = values["script"]
    if choice.title == NONE:
        return request
    script = engine.scripts.find(choice.title, img2img=panel.from_picture)
    call = _call(script, choice)
    script.bind(call.arguments, engine.available)
    return replace(request, script=call)


def choices_of(script: ScriptCall | None, always_on: Sequence[ScriptCall], panel: Panel,
               engine: Engine) -> dict[str, Choice]:
    """The values of the panel's forms for these calls. A form is "None" without a call, or if the call's arguments are
    invalid."""
    forms = engine.extensions.controls(panel.tab).values()
    calls = {call.title: call for call in always_on}
    choices = {_name(form): _choice(form, calls.get(form.title), engine) for form in forms}
    found = next((one for one in engine.scripts.of(img2img=panel.from_picture) if script and one.title == script.title),
                 None)
    return {**choices, "script": _choice(found, script, engine)}


def _choice(form: Form | None, call: ScriptCall | None, engine: Engine) -> Choice:
    if form is None or call is None:
        return Choice()
    try:
        arguments = form.bind(call.arguments, engine.available)
    except InvalidInput:
        return Choice()
    return Choice(title=form.title, arguments={name: list(value) if isinstance(value, tuple) else value
                                               for name, value in arguments.items()})


def _call(form: Form, choice: Choice) -> ScriptCall:
    return ScriptCall(form.title, tuple(choice.arguments.get(one.name, one.default) for one in form.inputs))


def _name(form: Controls) -> str:
    """The name of an extension's form in the panel."""
    return f"extension:{form.title}"


def _declaration(form: Form, engine: Engine) -> dict[str, Any]:
    """The declaration of a form for the page's script."""
    return {"title": form.title, "inputs": [_input(one, engine) for one in form.inputs if not one.hidden]}


def _input(one: Input, engine: Engine) -> dict[str, Any]:
    choices = [label for label in one.labels(engine.available) if label not in one.absent]
    value = list(one.default) if isinstance(one.default, tuple) else one.default
    return {"name": one.name, "label": one.label, "help": one.help, "kind": one.kind, "value": value,
            "low": one.low, "high": one.high, "step": one.step, "choices": choices, "live": callable(one.choices)}
