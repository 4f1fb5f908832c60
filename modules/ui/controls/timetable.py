"""Noise levels of this run: signal, noise and their ratio at each call of the network, drawn before Generate."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from modules.engine.engine import Engine
from modules.engine.timetable import timetable
from modules.errors import UserError
from modules.ui.controls.request_panel import Panel
from modules.ui.page.component import assets
from modules.ui.page.events import AT_ONCE, QUIET

_asset = assets(Path(__file__).parent / "timetable_view")
WIDTH, HEIGHT = 400, 100
LOUDEST = 40.0
"""Decibels of the ratio at the upper edge; the lower edge is as many below 0."""
ASK = """() => {
    document.querySelector("#%s .tt")?.dispatchEvent(new CustomEvent("timetable", {bubbles: true}));
}"""
"""Tells the view that a control has changed."""


def draw(panel: Panel) -> gr.HTML:
    """Draw the folded view here."""
    return gr.HTML("", html_template=_asset("view.html"), css_template=_asset("style.css"),
                   js_on_load=_asset("view.js"), apply_default_css=False, elem_id=panel.elem_id("timetable"))


def connect(view: gr.HTML, panel: Panel, engine: Engine) -> None:
    """Let the view follow the panel's controls, which must have been drawn before."""
    names = ["sampler", "scheduler", "steps", "ddim_loop", *(["denoising_strength"] if panel.from_picture else [])]
    widgets = [panel.widgets[name] for name in names]

    def show(sampler: str, scheduler: str, steps: float, ddim_loop: str, strength: float | None = None) -> str:
        return timetable_html(engine, sampler, scheduler, steps, strength, ddim_loop)

    view.click(show, widgets, view, **AT_ONCE)
    gr.on([widget.change for widget in widgets], None, None, None, js=ASK % panel.elem_id("timetable"), **QUIET)


def timetable_html(engine: Engine, sampler: str, scheduler: str, steps: float, strength: float | None,
                   ddim_loop: str) -> str:
    """The drawing and its sentences; empty while a field holds no valid number or name."""
    try:
        options = engine.options.replaced({"ddim_loop": ddim_loop})
        table = timetable(engine, sampler, scheduler, int(steps), strength, options)
    except (TypeError, ValueError, UserError):
        return ""
    return (f'{_svg(table["skipped"], table["calls"])}<p>{html.escape(table["sentence"])}</p><p>'
            '<b class="tt-signal">Signal</b> <b class="tt-noise">Noise</b> '
            '<b class="tt-snr">Their ratio in decibels</b> '
            '<span>Grey: levels above the one where the run begins.</span></p>')


def _svg(skipped: Sequence[dict[str, Any]], calls: Sequence[dict[str, Any]]) -> str:
    """The levels from left to right, as columns that say their numbers, and three curves over them."""
    levels = [*skipped, *calls]
    column = WIDTH / len(levels)

    def curve(name: str, low: float, high: float) -> str:
        points = " ".join(
            f"{(n + 0.5) * column:.1f},{HEIGHT * (1 - (min(max(level[name], low), high) - low) / (high - low)):.1f}"
            for n, level in enumerate(levels) if level[name] is not None)
        return f'<polyline class="tt-{name}" points="{points}"/>'

    grey = f'<rect class="tt-skipped" x="0" y="0" width="{len(skipped) * column:.1f}" height="{HEIGHT}"/>'
    columns = "".join(
        f'<rect class="tt-call" x="{n * column:.1f}" y="0" width="{column:.1f}" height="{HEIGHT}"><title>'
        f'{_numbers(n - len(skipped), level)}</title></rect>' for n, level in enumerate(levels))
    return (f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" translate="no">{grey}'
            f'{curve("signal", 0, 1)}{curve("noise", 0, 1)}{curve("snr", -LOUDEST, LOUDEST)}{columns}</svg>')


def _numbers(call: int, level: dict[str, Any]) -> str:
    """What a column says. `call` counts from 0; it is below 0 for a skipped level."""
    ratio = "" if level["snr"] is None else f', {level["snr"]:.1f} dB'
    return (f'{"-" if call < 0 else call + 1}: t {level["t"]:.0f}, signal {level["signal"]:.3f}, noise '
            f'{level["noise"]:.3f}{ratio}')
