"""The networks that a prompt names: `<lora:name:te:unet:dyn>` and `<hypernet:name:multiplier>`, as WebUI reads them.

A tag's arguments are separated by colons. One with a "=" in it is named (`unet=0.5`), the others go by their place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from modules.text.prompt import extra_networks

LORA, HYPERNETWORK = "lora", "hypernet"
KINDS = {"lora": LORA, "lyco": LORA, "hypernet": HYPERNETWORK}
"""What a tag begins with, and what it names."""


@dataclass(frozen=True)
class NetworkTag:
    """One tag. `te` and `unet` multiply what it does to text encoders and to the denoiser; a hypernetwork has `te`
    alone. `rank` is how many of a LoRA's columns are used, None for all."""

    kind: str
    name: str
    te: float = 1.0
    unet: float = 1.0
    rank: int | None = None


def network_tags(prompt: str) -> tuple[tuple[NetworkTag, ...], tuple[str, ...]]:
    """The tags of a prompt in their order, and a sentence for each that cannot be understood. Tags of other kinds are
    ignored, as in WebUI.

    WebUI leaves all LoRAs out if one has a weight that is no number; here only that one is left out.
    """
    found, warnings = [], []
    for text in extra_networks(prompt)[1]:
        kind, _, arguments = text[1:-1].partition(":")
        if kind in KINDS:
            try:
                found.append(_read(KINDS[kind], arguments.split(":")))
            except ValueError:
                warnings.append(f"{text[:200]} was left out: its weights are not numbers.")
    return tuple(found), tuple(warnings)


def with_network(prompt: str, kind: str, name: str, multiplier: float) -> str:
    """`prompt` with a tag for `name` at its end, unless it has one already (WebUI: options `sd_lora` and
    `sd_hypernetwork`)."""
    if any((tag.kind, tag.name) == (kind, name) for tag in network_tags(prompt)[0]):
        return prompt
    return f"{prompt}<{kind}:{name}:{multiplier}>"


def weighted_loras(prompt: str, weight: float) -> str:
    """`prompt` whose LoRAs have that weight, for the text encoder and for the denoiser. Their other arguments stay."""
    for text in dict.fromkeys(extra_networks(prompt)[1]):
        kind, _, arguments = text[1:-1].partition(":")
        if KINDS.get(kind) == LORA:
            items = arguments.split(":")
            named = [item for item in items if item.count("=") == 1 and not item.startswith(("te=", "unet="))]
            name, *others = [item for item in items if item.count("=") != 1] or [""]
            rank = [str(weight), others[2]] if len(others) > 2 else []
            prompt = prompt.replace(text, f"<{':'.join([kind, name, str(weight), *rank, *named])}>")
    return prompt


def without_loras(prompt: str) -> str:
    """`prompt` without the tags of LoRAs."""
    for text in extra_networks(prompt)[1]:
        if KINDS.get(text[1:-1].partition(":")[0]) == LORA:
            prompt = prompt.replace(text, "")
    return prompt


def _read(kind: str, items: Sequence[str]) -> NetworkTag:
    """Raises ValueError for a weight that is no number."""
    named = dict(item.split("=") for item in items if item.count("=") == 1)
    placed = [item for item in items if item.count("=") != 1]
    name = placed[0] if placed else ""
    te = _number(named.get("te", placed[1] if len(placed) > 1 else "1"))
    unet = named.get("unet", placed[2] if len(placed) > 2 else None)
    rank = named.get("dyn", placed[3] if len(placed) > 3 else None)
    return NetworkTag(kind, name, te, te if unet is None else _number(unet), None if rank is None else _rank(rank))


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _rank(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError
    return value
