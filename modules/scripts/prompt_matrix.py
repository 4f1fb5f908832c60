"""Prompt matrix: one picture for each combination of the prompt's parts. The part before the first "|" is in all.

Source: WebUI's script of that title.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from PIL import Image

from modules.errors import InvalidInput
from modules.hooks.forms import Arguments, Input, Script
from modules.hooks.types import GenerationContext
from modules.request import Txt2Img, seed_after
from modules.request.result import GeneratedImage
from modules.scripts.context import later
from modules.scripts.grid import Label, cell_size, image_grid, with_legend

JOINED_BY = {"comma": ", ", "space": " "}
FIELDS = {"positive": "prompt", "negative": "negative_prompt"}
MOST_PARTS = 12


def combinations(prompt: str, joined_by: str, *, at_start: bool) -> list[str]:
    """The prompts. Number k contains part n if bit n of k is set. Raises InvalidInput for too many parts."""
    first, *parts = prompt.split("|")
    if len(parts) > MOST_PARTS:
        raise InvalidInput(f"A prompt matrix has at most {MOST_PARTS} parts that vary.", field="prompt")
    found = []
    for number in range(2 ** len(parts)):
        chosen = [part.strip().strip(",") for n, part in enumerate(parts) if number >> n & 1]
        found.append(joined_by.join([*chosen, first] if at_start else [first, *chosen]))
    return found


def legend(image: Image.Image, cell: tuple[int, int], parts: list[str], margin: int) -> Image.Image:
    """`image` with a legend: the first half of the parts over the columns, the rest left of the rows. A part that is
    missing from a prompt is struck out."""
    middle = math.ceil(len(parts) / 2)
    columns, rows = ([[Label(part.strip(), bool(number >> n & 1)) for n, part in enumerate(half)]
                      for number in range(2 ** len(half))] for half in (parts[:middle], parts[middle:]))
    return with_legend(image, cell, columns, rows, margin)


def run(request: Txt2Img, arguments: Arguments, context: GenerationContext) -> list[GeneratedImage]:
    """Return a grid with a legend, then all pictures."""
    request = context.resolve(request)
    field = FIELDS[arguments["prompt_type"]]
    prompt = getattr(request, field)
    prompts = combinations(prompt, JOINED_BY[arguments["joined_by"]], at_start=arguments["at_start"])
    context.plan(len(prompts))
    requests: list[Txt2Img] = []
    for number, text in enumerate(prompts):
        one = later(request, number if arguments["different_seeds"] else 0)
        subseed = seed_after(one.subseed, number)
        changes: dict[str, Any] = {field: text}
        requests.append(replace(one, n_iter=1, batch_size=1, subseed=subseed, **changes))
    made = [image for result in context.generate_all(requests) for image in result.images]
    if not made:
        return []
    parts = prompt.split("|")[1:]
    images = [one.image for one in made]
    sheet = image_grid([*images, *[Image.new("RGB", images[0].size)] * (len(prompts) - len(images))],
                       rows=2 ** (len(parts) // 2))
    sheet = legend(sheet, cell_size(images), parts, arguments["margin"])
    text = context.text(request, PROMPT_MATRIX.describe(arguments))
    grid = GeneratedImage(sheet, request.seed, request.subseed, text, grid="grid")
    return [*context.keep([grid], request), *made]


PROMPT_MATRIX = Script(title="Prompt matrix", txt2img=True, run=run, inputs=(
    Input(name="at_start", label="Put variable parts at start of prompt",
          help="Puts the parts that vary in front of the rest. Words at the start weigh more.", kind="checkbox",
          default=False, key="Variable parts at start"),
    Input(name="different_seeds", label="Use different seed for each picture",
          help="Draws another seed for each picture. Otherwise only the prompts differ.", kind="checkbox",
          default=False, key="Different seeds"),
    Input(name="prompt_type", label="Select prompt",
          help="Which of the two prompts has the parts separated by bars. The other stays as it is.", kind="radio",
          default="positive", choices=tuple(FIELDS), key="Matrix prompt"),
    Input(name="joined_by", label="Select joining char", help="What stands between the parts: a comma or a space.",
          kind="radio", default="comma", choices=tuple(JOINED_BY), key="Joining char"),
    Input(name="margin", label="Grid margins (px)",
          help="The pixels between the pictures of the grid. 0 puts them side by side.", kind="slider", default=0,
          low=0, high=500, step=2, key="Grid margins")))
