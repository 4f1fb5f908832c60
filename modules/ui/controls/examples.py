"""The strip of example prompts and known words under the prompt. A click puts one into the prompt."""

from __future__ import annotations

import random

import gradio as gr
from gradio.components import Component

from modules.text.wildcards import draw
from modules.ui.page.events import AT_ONCE

TEMPLATE = """<div class="examples" role="toolbar" aria-label="Examples" data-count="{{value.length}}">
{{#each value}}{{#if this.heading}}<b lang="{{this.language}}">{{this.heading}}</b>{{/if}}<button type="button"
lang="{{this.language}}" data-kind="{{this.kind}}" data-template="{{this.template}}">{{#if this.picture}}<img
src="{{this.picture}}" alt="" loading="lazy">{{/if}}{{this.text}}</button>{{/each}}</div>"""

ON_LOAD = """element.addEventListener("click", (event) => {
    const example = event.target.closest("button");
    if (example) trigger("click", {text: example.textContent.trim(), ...example.dataset});
});"""


def examples(tab: str) -> gr.HTML:
    """The strip. Its value is a list of {kind: "surprise", "example" or "word", language, text, template, picture,
    heading}; an empty one is invisible. The style sheet shows only the entries in the page's language."""
    return gr.HTML([], html_template=TEMPLATE, js_on_load=ON_LOAD, apply_default_css=False,
                   elem_id=f"{tab}_examples", elem_classes="examples-strip")


def connect(strip: gr.HTML, prompt: Component) -> None:
    """Connect the clicks."""
    strip.click(pick, prompt, prompt, **AT_ONCE)


def pick(prompt: str, event: gr.EventData) -> str:
    """The prompt after a click: an example replaces it, and so does what is drawn of a template; a word is added."""
    if event.kind == "surprise":
        return draw(str(event.template), str(random.random()), lambda name: ())
    return f"{prompt} {event.text}".strip() if event.kind == "word" else str(event.text)
