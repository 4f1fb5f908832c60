"""The token counter beside a prompt: its tokens, and where a long prompt is divided into chunks of 75."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import gradio as gr

from modules.text import prompt as prompts
from modules.text.prompt_schedule import schedule

TEMPLATE = """<details class="tokens"><summary title="Tokens; a click shows where the prompt is cut">0/75</summary>
<ol></ol></details>"""

# The template has no ${value}: Gradio would render it again with each count and close the opened details.
ON_LOAD = """const show = (counted) => {
    element.querySelector("summary").textContent = `${counted.tokens}/${counted.limit}`;
    element.querySelector("details").classList.toggle("long", counted.chunks.length > 1);
    element.querySelector("ol").replaceChildren(...counted.chunks.map((text) => {
        const item = document.createElement("li");
        item.textContent = text;
        return item;
    }));
};
show(props.value);
watch("value", () => show(props.value));"""


@dataclass(frozen=True)
class Counted:
    """The number of `tokens` of a prompt, the `limit` (rounded up to a multiple of 75), and the text of each chunk."""

    tokens: int
    limit: int
    chunks: tuple[str, ...]


def counter(elem_id: str) -> gr.HTML:
    """The counter's component. Its value is a `Counted` as a dictionary."""
    return gr.HTML(asdict(Counted(0, 75, ("",))), html_template=TEMPLATE, js_on_load=ON_LOAD, apply_default_css=False,
                   elem_id=elem_id, elem_classes="token-counter")


def count(text: str, steps: int, *, positive: bool) -> Counted:
    """Count the tokens of the longest text that a prompt has during `steps`, as WebUI does (`update_token_counter`).

    Comments and tags do not count. `AND` divides a positive prompt, and each text of a schedule is counted. Of several
    texts of equal length the first is shown.
    """
    from modules.networks.text import chunks, clip_tokenizer

    words, _ = prompts.extra_networks(prompts.strip_comments(text))
    parts = [part for part, _ in prompts.split_and(words)] if positive else [words]
    texts = dict.fromkeys(version for part in parts for _, version in schedule(part, max(steps, 1)))
    longest = max(texts, key=lambda version: chunks.token_count(version)[0])
    used, limit = chunks.token_count(longest)
    cut = chunks.chunk(prompts.parse_attention(longest), clip_tokenizer.load_tokenizer(), chunks.COUNTER_BACKTRACK)
    return Counted(used, limit, tuple(clip_tokenizer.spell(one.tokens) for one in cut))


def counted(text: str, steps: Any, *, positive: bool) -> dict[str, Any]:
    """`count` as the component's value. Without a number in `steps`, 20 is used."""
    return asdict(count(text, int(steps) if isinstance(steps, (int, float)) else 20, positive=positive))
