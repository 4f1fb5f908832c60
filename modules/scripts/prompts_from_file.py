"""Prompts from file or textbox: one request for each line. A line may have settings of its own (`--steps 30`).

Source: WebUI's script of that title.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from modules.errors import InvalidInput
from modules.hooks.forms import Arguments, Input, Script
from modules.hooks.types import GenerationContext
from modules.request import Txt2Img
from modules.request.result import GeneratedImage
from modules.scripts.context import later


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError
    return text.lower() == "true"


FIELDS: dict[str, Callable[[str], Any]] = {
    "seed": int, "subseed": int, "subseed_strength": float, "seed_resize_from_h": int, "seed_resize_from_w": int,
    "sampler_name": str, "batch_size": int, "n_iter": int, "steps": int, "cfg_scale": float, "width": int,
    "height": int, "tiling": _flag, "restore_faces": _flag, "sd_model": str, "prompt": str, "negative_prompt": str}
"""The settings that a line may have, and the functions that read their values."""

TEXTS = ("prompt", "negative_prompt")
NAMES = {"sampler_name": "sampler"}
OPTIONS = {"tiling": "tiling", "restore_faces": "face_restoration", "sd_model": "sd_model_checkpoint"}


def read_line(line: str) -> dict[str, Any]:
    """The settings of one line, by WebUI's names. A line that cannot be read as settings is a prompt."""
    if "--" not in line:
        return {"prompt": line}
    try:
        return _options(shlex.split(line))
    except ValueError:
        return {"prompt": line}


def _options(words: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    rest = list(words)
    while rest:
        name = rest.pop(0)
        if not name.startswith("--") or name[2:] not in FIELDS or not rest:
            raise ValueError(name)
        name = name[2:]
        value = rest.pop(0)
        while name in TEXTS and rest and not rest[0].startswith("--"):
            value += f" {rest.pop(0)}"
        found[name] = FIELDS[name](value)
    return found


def apply(request: Txt2Img, line: dict[str, Any], *, at_start: bool) -> Txt2Img:
    """`request` with the settings of `line`. A prompt of the line is joined with the request's: before it with
    `at_start`, otherwise after it. Raises InvalidInput."""
    changes = {NAMES.get(name, name): value for name, value in line.items() if name not in OPTIONS}
    for name in TEXTS:
        own, common = changes.get(name), getattr(request, name)
        if own and common:
            changes[name] = f"{own} {common}" if at_start else f"{common} {own}"
    options = {OPTIONS[name]: value for name, value in line.items() if name in OPTIONS}
    return replace(request, options=request.options.replaced(options), **changes)


def run(request: Txt2Img, arguments: Arguments, context: GenerationContext) -> list[GeneratedImage]:
    """Carry out one request for each line that is not empty. Returns all pictures."""
    texts = [line.strip() for line in arguments["lines"].splitlines() if line.strip()]
    lines = [read_line(text) for text in texts]
    if not lines:
        raise InvalidInput("There are no prompts: write one in each line.", field="script_args")
    iterate = arguments["iterate"]
    if iterate or arguments["same_seed"]:
        request = context.resolve(request)
    at_start = arguments["position"] == "start"
    requests = [apply(later(request, number * request.batch_size * request.n_iter * iterate), line, at_start=at_start)
                for number, line in enumerate(lines)]
    context.warnings += [f"This line was taken as a prompt, because it cannot be read as settings: {text[:80]}"
                         for text, line in zip(texts, lines, strict=True)
                         if text.startswith("--") and line == {"prompt": text}]
    context.plan(sum(one.n_iter for one in requests))
    for one in requests:
        context.check(one)
    return [image for result in context.generate_all(requests) for image in result.images]


PROMPTS_FROM_FILE = Script(title="Prompts from file or textbox", txt2img=True, run=run, inputs=(
    Input(name="iterate", label="Iterate seed every line",
          help="Adds 1 to the seed with each line. Otherwise -1 draws another for each.", kind="checkbox",
          default=False),
    Input(name="same_seed", label="Use same random seed for all lines",
          help="Uses one seed for all lines, so that only the prompts differ.", kind="checkbox", default=False),
    Input(name="position", label="Insert prompts at the",
          help="Whether a line stands in front of the tab's prompt or behind it.", kind="radio", default="start",
          choices=("start", "end")),
    Input(name="lines", label="List of prompt inputs",
          help='One prompt in each line, or options such as --steps 30 --prompt "a cat". A file is read too.',
          kind="lines", default="")))
