"""The button that sets what a few-step checkpoint or LoRA needs. It is there only where there is such a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from modules.engine.few_steps import FewSteps, offered
from modules.errors import NotFound
from modules.text.network_tags import LORA, with_network
from modules.ui.controls.request_panel import Panel
from modules.ui.page.events import AT_ONCE
from modules.ui.page.header import Header
from modules.ui.page.help import explain

NAMES = ("prompt", "sampler", "scheduler", "steps", "cfg_scale")
"""The widgets that it sets."""


def draw(panel: Panel) -> gr.Button:
    """Draw the button here, hidden."""
    return explain(gr.Button("Fast", size="sm", visible=False, elem_id=panel.elem_id("fast")),
                   "Sets sampler, schedule, steps and CFG scale as the few-step checkpoint or LoRA among your files "
                   "needs them, and names the LoRA in the prompt. At a CFG scale of 1 the negative prompt counts for "
                   "nothing.")


def connect(buttons: Sequence[tuple[gr.Button, Panel]], header: Header, refreshing: Sequence[Any]) -> None:
    """Connect the tabs' buttons. They follow the checkpoint of `header`, and the events `refreshing`, which look for
    new files."""
    shown = [button for button, _ in buttons]

    def found(checkpoint: str | None) -> FewSteps | None:
        try:
            file, _ = header.engine.files_of(header.options(checkpoint, None))
        except NotFound:
            return None
        return offered(file, header.engine.networks.loras) if file else None

    def look(checkpoint: str | None) -> list[Any]:
        settings = found(checkpoint)
        if settings is None:
            return [gr.update(visible=False)] * len(shown)
        label = "Fast: 1 step" if settings.steps == 1 else f"Fast: {settings.steps} steps"
        return [gr.update(value=label, visible=True)] * len(shown)

    def look_again(checkpoint: str | None) -> list[Any]:
        header.engine.networks.loras.refresh()
        return look(checkpoint)

    def set_all(checkpoint: str | None, prompt: str) -> list[Any]:
        settings = found(checkpoint)
        if settings is None:
            return [gr.skip()] * len(NAMES)
        prompt = with_network(prompt, LORA, settings.lora, 1) if settings.lora else prompt
        return [prompt, settings.sampler, settings.scheduler, settings.steps, settings.cfg_scale]

    header.checkpoint.change(look, header.checkpoint, shown, **AT_ONCE)
    gr.on(refreshing, look_again, header.checkpoint, shown, **AT_ONCE)
    for button, panel in buttons:
        button.click(set_all, [header.checkpoint, panel.widgets["prompt"]], [panel.widgets[name] for name in NAMES],
                     **AT_ONCE)
