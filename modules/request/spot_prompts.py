"""Prompts for single spots: lines of the prompt that begin with "spot 1:"."""

from __future__ import annotations

import re

_LINE = re.compile(r"\s*spot\s+(\d{1,4})\s*:(.*)", re.IGNORECASE)


def has_spot_prompts(prompt: str) -> bool:
    """Whether a line of `prompt` is for one spot."""
    return any(_LINE.match(line) for line in prompt.split("\n"))


def spot_prompts(prompt: str, count: int) -> tuple[list[str], tuple[str, ...]]:
    """The prompt of each of `count` spots: its own lines, then those that are for all. And warnings, in sentences."""
    own: dict[int, list[str]] = {}
    common = []
    for line in prompt.split("\n"):
        found = _LINE.match(line)
        if found:
            own.setdefault(int(found[1]), []).append(found[2].strip())
        else:
            common.append(line)
    rest = "\n".join(common).strip()
    unknown = sorted(number for number in own if not 1 <= number <= count)
    warnings = tuple(f"The prompt names spot {number}; the mask has {count}." for number in unknown)
    return [", ".join(part for part in (*own.get(number, ()), rest) if part)
            for number in range(1, count + 1)], warnings
