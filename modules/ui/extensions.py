"""The Extensions tab: what is in `extensions/`, whether it works, on and off, and its settings. Nothing can be added
from here."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import gradio as gr

from modules.engine import Engine
from modules.plugins import Guest
from modules.scripts.script import Controls
from modules.ui.events import AT_ONCE, QUIET
from modules.ui.scripts import Choice, ScriptForm
from modules.ui.words import told

HELP = ("To add an extension, put its folder into the folder extensions and start the program again. "
        "Switching one on or off takes effect at the next start.")


@dataclass(frozen=True)
class Row:
    """One extension's widgets. `form` is None without settings; they are Any for Gradio's events."""

    guest: Guest
    switch: Any
    state: gr.HTML
    form: Any


def build(engine: Engine) -> list[Row]:
    """Draws the tab where it is called."""
    with gr.Column(elem_classes="extensions"):
        gr.Markdown(HELP, elem_classes="extensions-help")
        return [_row(guest, engine) for guest in engine.plugins.guests]


def connect(rows: list[Row], tab: gr.Tab, demo: gr.Blocks, engine: Engine) -> None:
    """Wires the tab: its state is looked up whenever the page or the tab is opened."""
    outputs = [widget for row in rows for widget in (row.switch, row.state, row.form) if widget is not None]
    for opened in (demo.load, tab.select):
        opened(lambda: [value for row in rows for value in _values(row, engine)], None, outputs, **AT_ONCE)
    for row in rows:
        _connect_row(row, engine)


def _row(guest: Guest, engine: Engine) -> Row:
    with gr.Column(elem_classes="extension"):
        switch = gr.Checkbox(engine.plugins.enabled(guest.name), label=guest.name, elem_classes="extension-switch",
                             elem_id=f"extension_{guest.name}_on", container=False)
        state = gr.HTML(state_html(guest, engine), elem_id=f"extension_{guest.name}_state", js_on_load=None,
                        apply_default_css=False)
        form = None
        if guest.settings:
            form = ScriptForm(_settings(guest, engine), engine=engine, lead="", elem_classes="script",
                              forms=[Controls(title=guest.name, inputs=guest.settings)],
                              elem_id=f"extension_{guest.name}_settings")
    return Row(guest, switch, state, form)


def _connect_row(row: Row, engine: Engine) -> None:
    name = row.guest.name

    @told
    def enable(on: bool) -> str:
        engine.plugins.enable(name, on)
        return state_html(row.guest, engine)

    @told
    def remember(choice: Choice) -> None:
        for setting, value in choice.arguments.items():
            engine.plugins.set(name, setting, value)

    row.switch.input(enable, row.switch, row.state, **QUIET)
    if row.form is not None:
        row.form.change(remember, row.form, None, trigger_mode="always_last", **QUIET)


def _values(row: Row, engine: Engine) -> list[Any]:
    values: list[Any] = [engine.plugins.enabled(row.guest.name), state_html(row.guest, engine)]
    return [*values, _settings(row.guest, engine)] if row.form is not None else values


def _settings(guest: Guest, engine: Engine) -> Choice:
    return Choice(title=guest.name, arguments=engine.plugins.settings(guest))


def state_html(guest: Guest, engine: Engine) -> str:
    """What it is for, whether it takes part, and what went wrong last."""
    on = engine.plugins.enabled(guest.name)
    if guest.loaded:
        state = "In use" if on else "In use until the next start"
    elif on:
        state = "Not in use" if guest.problem else "In use from the next start"
    else:
        state = "Off"
    version = f" · version {guest.version}" if guest.version else ""
    problem = f'<p class="extension-problem" role="status">{html.escape(guest.problem)}</p>' if guest.problem else ""
    return (f'<p class="extension-about">{html.escape(guest.about)}</p>'
            f'<p class="extension-state">{state}{html.escape(version)}</p>{problem}')
