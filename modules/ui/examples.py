"""A strip of example prompts that go into the prompt when clicked."""

from __future__ import annotations

import gradio as gr
from gradio.components import Component

TEMPLATE = """<div class="examples" data-count="{{value.length}}">
{{#each value}}<button type="button">{{this}}</button>{{/each}}</div>"""

ON_LOAD = """element.addEventListener("click", (event) => {
    const example = event.target.closest("button");
    if (example) trigger("click", {text: example.textContent});
});"""


def examples(tab: str) -> gr.HTML:
    """The strip, empty and invisible until it has a value (a list of strings)."""
    return gr.HTML([], html_template=TEMPLATE, js_on_load=ON_LOAD, apply_default_css=False,
                   elem_id=f"{tab}_examples", elem_classes="examples-strip")


def connect(strip: gr.HTML, prompt: Component) -> None:
    """A click replaces the prompt."""
    strip.click(pick, None, prompt, show_progress="hidden", queue=False, api_visibility="private")


def pick(event: gr.EventData) -> str:
    """The text of the example that was clicked."""
    return str(event.text)
