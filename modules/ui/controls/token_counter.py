"""The token counter beside a prompt: its tokens, and where a long prompt is divided into chunks of 75."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from modules.text import prompt as prompts
from modules.text.prompt_schedule import schedule

if TYPE_CHECKING:
    from modules.networks.text.chunks import Chunk
    from modules.networks.text.words import Words

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


def count(text: str, steps: int, *, positive: bool, words: Words | None = None) -> Counted:
    """Count the tokens of the longest text that a prompt has during `steps`, as WebUI does (`update_token_counter`).
    An embedding among `words` counts as many as it has vectors.

    Comments and tags do not count. `AND` divides a positive prompt, and each text of a schedule is counted. Of several
    texts of equal length the first is shown.
    """
    from modules.networks.text import chunks, clip_tokenizer
    from modules.networks.text.words import NO_WORDS

    known = words or NO_WORDS
    plain, _ = prompts.extra_networks(prompts.strip_comments(text))
    parts = [part for part, _ in prompts.split_and(plain)] if positive else [plain]
    texts = dict.fromkeys(version for part in parts for _, version in schedule(part, max(steps, 1)))
    longest = max(texts, key=lambda version: chunks.token_count(version, known)[0])
    used, limit = chunks.token_count(longest, known)
    cut = chunks.chunk(prompts.parse_attention(longest), clip_tokenizer.load_tokenizer(), chunks.COUNTER_BACKTRACK,
                       known)
    return Counted(used, limit, tuple(_spelled(one) for one in cut))


def _spelled(one: Chunk) -> str:
    """What a chunk says, with the names of its embeddings in the places of their vectors."""
    from modules.networks.text.clip_tokenizer import spell

    pieces, start = [], 0
    for place, embedding in one.embeddings:
        pieces += [spell(one.tokens[start:place]), embedding.name]
        start = place + embedding.count
    return " ".join(piece for piece in (*pieces, spell(one.tokens[start:])) if piece)


def counted(text: str, steps: Any, *, positive: bool, words: Words | None = None) -> dict[str, Any]:
    """`count` as the component's value. Without a number in `steps`, 20 is used."""
    return asdict(count(text, int(steps) if isinstance(steps, (int, float)) else 20, positive=positive,
                        words=words))
