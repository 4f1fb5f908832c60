"""The Extensions tab: lists the extensions with their state, switches them on and off, and shows their settings. No
extension can be added here."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import gradio as gr

from modules.engine.engine import Engine
from modules.hooks.forms import Controls
from modules.hooks.loading import Extension
from modules.ui.controls.scripts import Choice, ScriptForm
from modules.ui.page.events import AT_ONCE, QUIET
from modules.ui.page.help import explain
from modules.ui.page.messages import told

HELP = ("To add an extension, put its folder into the folder extensions and start the program again. "
        "Switching one on or off takes effect at the next start.")


@dataclass(frozen=True)
class Row:
    """The widgets of one extension. `form` is None without settings. Any is needed for Gradio's event methods."""

    extension: Extension
    switch: Any
    state: gr.HTML
    form: Any


def build(engine: Engine) -> list[Row]:
    """Draw the tab here."""
    with gr.Column(elem_classes="extensions"):
        gr.Markdown(HELP, elem_classes="extensions-help")
        return [_row(extension, engine) for extension in engine.extensions.extensions]


def connect(rows: list[Row], tab: gr.Tab, demo: gr.Blocks, engine: Engine) -> None:
    """Connect the tab. Its state is refreshed whenever the page or the tab is opened."""
    outputs = [widget for row in rows for widget in (row.switch, row.state, row.form) if widget is not None]
    for opened in (demo.load, tab.select):
        opened(lambda: [value for row in rows for value in _values(row, engine)], None, outputs, **AT_ONCE)
    for row in rows:
        _connect_row(row, engine)


def _row(extension: Extension, engine: Engine) -> Row:
    with gr.Column(elem_classes="extension"):
        switch = explain(
            gr.Checkbox(engine.extensions.enabled(extension.name), label=extension.name,
                        elem_classes="extension-switch", elem_id=f"extension_{extension.name}_on", container=False),
            "Whether the extension is in use. A change takes effect at the next start.")
        state = gr.HTML(state_html(extension, engine), elem_id=f"extension_{extension.name}_state", js_on_load=None,
                        apply_default_css=False)
        form = None
        if extension.settings:
            form = ScriptForm(_settings(extension, engine), engine=engine, lead="", elem_classes="script",
                              forms=[Controls(title=extension.name, inputs=extension.settings)],
                              elem_id=f"extension_{extension.name}_settings")
    return Row(extension, switch, state, form)


def _connect_row(row: Row, engine: Engine) -> None:
    name = row.extension.name

    @told
    def enable(on: bool) -> str:
        engine.extensions.enable(name, on)
        return state_html(row.extension, engine)

    @told
    def remember(choice: Choice) -> None:
        for setting, value in choice.arguments.items():
            engine.extensions.set(name, setting, value)

    row.switch.input(enable, row.switch, row.state, **QUIET)
    if row.form is not None:
        row.form.change(remember, row.form, None, trigger_mode="always_last", **QUIET)


def _values(row: Row, engine: Engine) -> list[Any]:
    values: list[Any] = [engine.extensions.enabled(row.extension.name), state_html(row.extension, engine)]
    return [*values, _settings(row.extension, engine)] if row.form is not None else values


def _settings(extension: Extension, engine: Engine) -> Choice:
    return Choice(title=extension.name, arguments=engine.extensions.settings(extension))


def state_html(extension: Extension, engine: Engine) -> str:
    """The extension's description, its state and its last problem as HTML."""
    on = engine.extensions.enabled(extension.name)
    if extension.loaded:
        state = "In use" if on else "In use until the next start"
    elif on:
        state = "Not in use" if extension.problem else "In use from the next start"
    else:
        state = "Off"
    version = f" · version {extension.version}" if extension.version else ""
    problem = html.escape(extension.problem)
    problem = f'<p class="extension-problem" role="status">{problem}</p>' if problem else ""
    return (f'<p class="extension-about">{html.escape(extension.about)}</p>'
            f'<p class="extension-state">{state}{html.escape(version)}</p>{problem}')
