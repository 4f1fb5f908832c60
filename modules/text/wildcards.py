r"""Wildcards in prompts: what is drawn anew for each picture.

`__name__` stands for one line of a list, `{a|b|c}` for one of the alternatives. `{2$$a|b|c}` takes two different ones,
`{1-2$$a|b|c}` one or two, joined by a comma, or by what stands between two `$$`: `{2$$ and $$a|b|c}`. The number may
stand before any alternative. `{3::a|b}` draws a three times as often as b. Alternatives and lines may hold further
wildcards. `\{` is a brace. Braces without `|` and `$$` are text, and so is a name without a list.

The grammar is that of the Dynamic Prompts extension of WebUI. Each pass over a text takes linear time and uses no
recursion, because prompts and lists come from strangers.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from modules.errors import InvalidInput

MOST_ROUNDS = 10
"""So often what was drawn is looked at for further wildcards."""

LONGEST = 100_000
"""Characters of a prompt."""

Lines = Callable[[str], Sequence[str]]
"""The lines of the list of that name; none if there is no such list."""

_NAME = re.compile(r"__([\w.*/-]{1,100}?)__")
_TOKEN = re.compile(r"\\.|[{|}]|[^\\{|}]+|\\", re.DOTALL)
_COUNT = re.compile(r"\s*(\d{1,4})(?:-(\d{1,4}))?\$\$(?:([^$]{0,100})\$\$)?")
_WEIGHT = re.compile(r"\s*(\d{1,6}(?:\.\d{1,6})?)::")


def has_wildcards(text: str) -> bool:
    """Whether `text` may hold something to draw."""
    return "{" in text or "__" in text


def draw(text: str, seed: str, lines: Lines) -> str:
    """`text` with its wildcards drawn. Equal seeds and lists give equal texts, on every machine. Raises InvalidInput if
    the text becomes too long."""
    chance = random.Random(seed)

    def line(match: re.Match[str]) -> str:
        found = lines(match[1])
        return found[int(chance.random() * len(found))] if found else match[0]

    for _ in range(MOST_ROUNDS):
        drawn = _NAME.sub(line, _groups_drawn(text, chance))
        if len(drawn) > LONGEST:
            raise InvalidInput(f"With its wildcards the prompt has more than {LONGEST} characters.", field="prompt")
        if drawn == text:
            break
        text = drawn
    return text


def _groups_drawn(text: str, chance: random.Random) -> str:
    """`text` with one alternative in the place of each group, the inner groups first."""
    open_groups: list[list[list[str]]] = [[[]]]  # the text around all groups first; each is its alternatives' pieces
    for token in _TOKEN.findall(text):
        if token == "{":
            open_groups.append([[]])
        elif token == "|" and len(open_groups) > 1:
            open_groups[-1].append([])
        elif token == "}" and len(open_groups) > 1:
            alternatives = ["".join(pieces) for pieces in open_groups.pop()]
            open_groups[-1][-1].append(_chosen(alternatives, chance))
        else:
            open_groups[-1][-1].append(token)
    while len(open_groups) > 1:  # a brace that is never closed is text
        rest = "|".join("".join(pieces) for pieces in open_groups.pop())
        open_groups[-1][-1].append(f"{{{rest}")
    return "".join(open_groups[0][0])


def _chosen(alternatives: Sequence[str], chance: random.Random) -> str:
    """What is drawn of a group."""
    low, high, joint, given = 1, 1, ", ", False
    texts, weights = [], []
    for alternative in alternatives:
        if (count := _COUNT.match(alternative)) and not given:
            low, high, joint, given = int(count[1]), int(count[2] or count[1]), count[3] or ", ", True
            alternative = alternative[count.end():]
        weight = _WEIGHT.match(alternative)
        texts.append(alternative[weight.end():] if weight else alternative)
        weights.append(float(weight[1]) if weight else 1.0)
    if len(alternatives) == 1 and not given:
        return f"{{{alternatives[0]}}}"
    number = low + int(chance.random() * (max(high, low) - low + 1))
    drawn = []
    for _ in range(min(number, len(texts))):
        place = _weighted(weights, chance)
        drawn.append(texts[place])
        weights[place] = -1.0  # each is drawn once
    return joint.join(drawn)


def _weighted(weights: Sequence[float], chance: random.Random) -> int:
    """An index, as often as its weight says; negative ones never."""
    left = [index for index, weight in enumerate(weights) if weight >= 0]
    point = chance.random() * sum(weights[index] for index in left)
    for index in left:
        point -= weights[index]
        if point < 0:
            return index
    return left[-1]
