"""The presets of a tab: all of its settings under a name, and the present ones as the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component
from pydantic import ValidationError

from modules.engine.engine import Engine
from modules.errors import InvalidInput, NotFound
from modules.text import presets as files
from modules.ui.controls.defaults import KEY, Defaults, entries
from modules.ui.controls.request_panel import Panel, tool_button
from modules.ui.controls.scripts import Choice, ScriptForm
from modules.ui.page.events import QUIET
from modules.ui.page.help import explain
from modules.ui.page.messages import told

OF_A_PICTURE = ("depth_map", "only_masked_frame")
"""Controls that belong to the picture on the canvas."""


@dataclass(frozen=True)
class Presets:
    """The widgets."""

    name: gr.Dropdown
    apply: gr.Button
    save: gr.Button
    delete: gr.Button
    defaults: gr.Button


def draw(panel: Panel) -> Presets:
    """Draw the widgets here."""
    with gr.Row(elem_classes="tight styles-row"):
        name = explain(
            gr.Dropdown([], value=None, label="Preset", allow_custom_value=True, min_width=120,
                        elem_id=panel.elem_id("preset"), elem_classes="inline"),
            "All settings of this tab under a name. Choose one and press the arrow to get them back, or type a name "
            "and save.")
        apply = tool_button("apply", "Set everything as the preset has it", panel.elem_id("preset_apply"))
        save = tool_button("save", "Save the settings of this tab under the name", panel.elem_id("preset_save"))
        delete = tool_button("delete", "Delete the preset", panel.elem_id("preset_delete"))
    defaults = explain(gr.Button("Make these the defaults", size="sm", elem_id=panel.elem_id("make_defaults")),
                       "A new window begins with these settings. They can be changed on the Settings tab too.")
    return Presets(name, apply, save, delete, defaults)


def connect(presets: Presets, panel: Panel, demo: gr.Blocks, engine: Engine) -> Any:
    """Connect the widgets. All widgets of the panel must have been drawn before. Returns the event that sets them."""
    file, tab = panel.settings.config_file.with_name("presets.json"), panel.tab

    def choices(chosen: str | None) -> Any:
        return gr.update(choices=list(files.load(file, tab)), value=chosen)

    @told
    def apply(name: str | None) -> list[Any]:
        values = files.load(file, tab).get(name or "")
        if values is None:
            raise NotFound("Choose a preset first.")
        return [gr.update(value=restored(widget, values[one])) if one in values else gr.skip()
                for one, widget in panel.widgets.items()]

    @told
    def save(name: str | None, *arguments: Any) -> Any:
        files.save(file, tab, (name or "").strip(), kept(dict(zip(panel.widgets, arguments, strict=True))))
        gr.Info(f"The preset {name} is saved.", title="")
        return choices((name or "").strip())

    @told
    def delete(name: str | None) -> Any:
        if (name or "") not in files.load(file, tab):
            raise NotFound("Choose a preset first.")
        files.save(file, tab, name or "", None)
        return choices(None)

    @told
    def make_defaults(*arguments: Any) -> None:
        values = kept(panel.values(arguments))
        options, starting = of_tables(values, panel, engine)
        engine.set_options(options | {KEY: entries(engine.config, panel.settings, starting)})
        gr.Info("These settings are the defaults now.", title="")

    demo.load(told(lambda: choices(None)), None, presets.name, **QUIET)
    one_by_one: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "presets", **QUIET}
    presets.save.click(save, [presets.name, *panel.inputs], presets.name, **one_by_one)
    presets.delete.click(delete, presets.name, presets.name, **one_by_one)
    presets.defaults.click(make_defaults, panel.inputs, None, **one_by_one)
    return presets.apply.click(apply, presets.name, panel.inputs, **QUIET)


def kept(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those values that a file can hold and that are not of one picture."""
    plain = {name: value.model_dump() if isinstance(value, Choice) else value for name, value in values.items()}
    return {name: value for name, value in plain.items() if name not in OF_A_PICTURE
            and (value is None or isinstance(value, str | int | float | list | dict))}


def restored(widget: Component, value: Any) -> Any:
    """A value of the file as `widget` takes it. Raises InvalidInput for the form of a script that is none."""
    try:
        return Choice.model_validate(value) if isinstance(widget, ScriptForm) else value
    except ValidationError as error:
        raise InvalidInput("The preset has something else in the place of a script.", field="preset") from error


def of_tables(values: Mapping[str, Any], panel: Panel, engine: Engine) -> tuple[dict[str, Any], dict[str, Any]]:
    """(options, default values) that stand in the panel's `values`, by their names in these tables."""
    names = {name: name for name in values}
    if not panel.from_picture:
        names = {name: "hr_denoising_strength" if name == "denoising_strength" else name for name in names}
    known = {names[name]: value for name, value in values.items() if value is not None}
    starting = {name: value for name, value in known.items() if hasattr(Defaults(), name)}
    return {name: value for name, value in known.items() if hasattr(engine.options, name)}, starting
