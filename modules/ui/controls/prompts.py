"""The prompt boxes of a tab, with their token counters and the styles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from modules.request.fields import find
from modules.text.styles import Style, apply_styles, check_styles, load_styles, save_style
from modules.ui.controls.request_panel import Panel, tool_button
from modules.ui.controls.token_counter import counted, counter
from modules.ui.page.events import AT_ONCE, QUIET
from modules.ui.page.help import explain
from modules.ui.page.messages import told

if TYPE_CHECKING:
    from modules.networks.text.words import Words


@dataclass(frozen=True)
class Prompts:
    """The widgets that are not part of a request."""

    counters: tuple[gr.HTML, gr.HTML]
    apply: gr.Button
    edit: gr.Button
    refresh: gr.Button
    saving: gr.Row
    style_name: gr.Textbox
    save: gr.Button


def draw(panel: Panel) -> Prompts:
    """Draw prompt and negative prompt, each with its counter, and the styles below."""
    with gr.Column(elem_classes="prompt-box"):
        _box(panel, "prompt", "prompt", "What you want to see (Ctrl+Enter generates)", lines=3, max_lines=8)
        positive = counter(panel.elem_id("token_counter"))
    with gr.Column(elem_classes="prompt-box"):
        _box(panel, "negative_prompt", "neg_prompt", "What you don't want to see", lines=1, max_lines=6)
        negative = counter(panel.elem_id("negative_token_counter"))
    with gr.Row(elem_classes="tight styles-row"):
        panel.add("styles", explain(
            gr.Dropdown([], value=[], label="Styles", multiselect=True, allow_custom_value=True,
                        elem_id=panel.elem_id("styles"), min_width=120, elem_classes="inline"),
            "Saved prompts that are added to yours when a picture is made. Several can be chosen."))
        apply = tool_button("apply", "Apply the chosen styles to the prompts", panel.elem_id("style_apply"))
        edit = tool_button("save", "Save the prompts as a style", panel.elem_id("style_create"))
        refresh = tool_button("refresh", "Look for new styles", panel.elem_id("style_refresh"))
    with gr.Row(elem_classes="tight style-save", visible=False) as saving:
        name = explain(gr.Textbox(label="Style name", min_width=120, max_lines=1, elem_id=panel.elem_id("style_name"),
                                  elem_classes="inline"),
                       "The name under which both prompts are saved. The name of a style replaces that style.")
        save = gr.Button("Save", size="sm", scale=0, min_width=70, elem_id=panel.elem_id("style_save"))
    return Prompts((positive, negative), apply, edit, refresh, saving, name, save)


def _box(panel: Panel, name: str, elem_id: str, placeholder: str, lines: int, max_lines: int) -> None:
    item = find(panel.request, name)
    panel.add(name, explain(gr.Textbox(label=item.label, placeholder=placeholder, elem_id=panel.elem_id(elem_id),
                                       lines=lines, max_lines=max_lines), item.help))


def connect(prompts: Prompts, panel: Panel, demo: gr.Blocks, words: Callable[[], Words]) -> None:
    """Connect the counters and the styles. `words` are the embeddings that prompts may name."""
    file = panel.settings.styles_file
    prompt, negative, styles = (panel.widgets[name] for name in ("prompt", "negative_prompt", "styles"))

    @told
    def names() -> Any:
        return gr.update(choices=[style.name for style in load_styles(file)])

    @told
    def look_again() -> Any:
        check_styles(file)
        return names()

    @told
    def count(prompt: str, negative: str, chosen: list[str], steps: float) -> list[dict[str, Any]]:
        texts = apply_styles(chosen or [], load_styles(file) if chosen else (), prompt or "", negative or "")
        known = words()
        return [counted(text, steps, positive=positive, words=known)
                for text, positive in zip(texts, (True, False), strict=True)]

    @told
    def apply(chosen: list[str], prompt: str, negative: str) -> tuple[str, str, list[str]]:
        return *apply_styles(chosen or [], load_styles(file), prompt or "", negative or ""), []

    @told
    def save(name: str, prompt: str, negative: str) -> tuple[Any, Any, str]:
        save_style(file, Style((name or "").strip(), prompt or "", negative or ""))
        gr.Info(f"The style {name.strip()} is saved.", title="")
        return names(), gr.update(visible=False), ""

    demo.load(names, None, styles, **QUIET)
    gr.on([prompt.change, negative.change, styles.change], count, [prompt, negative, styles, panel.widgets["steps"]],
          list(prompts.counters), trigger_mode="always_last", **AT_ONCE)
    prompts.refresh.click(look_again, None, styles, **QUIET)
    prompts.apply.click(apply, [styles, prompt, negative], [prompt, negative, styles], **QUIET)
    prompts.edit.click(lambda: gr.update(visible=True), None, prompts.saving, **AT_ONCE)
    gr.on([prompts.save.click, prompts.style_name.submit], save, [prompts.style_name, prompt, negative],
          [styles, prompts.saving, prompts.style_name], concurrency_limit=1, concurrency_id="styles", **QUIET)


def styled(values: dict[str, Any], panel: Panel) -> dict[str, Any]:
    """A panel's values with the chosen styles merged into its prompts, and into the prompts of hires fix if it has any.

    Raises InvalidInput if a prompt becomes too long.
    """
    chosen = values.get("styles")
    if not chosen:
        return values
    styles = load_styles(panel.settings.styles_file)
    for prompt, negative in (("prompt", "negative_prompt"), ("hr_prompt", "hr_negative_prompt")):
        if prompt == "prompt" or values.get(prompt) or values.get(negative):
            texts = apply_styles(chosen, styles, values[prompt] or "", values[negative] or "")
            values = values | dict(zip((prompt, negative), texts, strict=True))
    return values
