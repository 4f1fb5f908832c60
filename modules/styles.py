"""Prompt styles: named pieces of prompt in `styles.csv`, WebUI's file (columns name, prompt, negative_prompt)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modules.errors import InvalidInput


@dataclass(frozen=True)
class Style:
    """One style. `{prompt}` in a text marks where the person's own prompt goes; without it the text is added behind."""

    name: str
    prompt: str = ""
    negative_prompt: str = ""


def load_styles(file: Path) -> tuple[Style, ...]:
    """The styles of a CSV file, in its order; none when there is no such file. Names that begin with # are comments.

    Raises InvalidInput when the file cannot be read as such a table.
    """
    if not file.is_file():
        return ()
    try:
        with file.open(encoding="utf-8-sig", newline="") as rows:
            found = [Style(row["name"], row.get("prompt") or "", row.get("negative_prompt") or "")
                     for row in csv.DictReader(rows, skipinitialspace=True) if row.get("name")]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"The styles in {file.name} cannot be read: {error}.") from error
    return tuple(style for style in found if not style.name.startswith("#"))


def apply_styles(names: Sequence[str], styles: Sequence[Style], prompt: str, negative: str) -> tuple[str, str]:
    """(prompt, negative prompt) with the named styles merged in, one after the other; unknown names do nothing."""
    known = {style.name: style for style in styles}
    for style in (known[name] for name in names if name in known):
        prompt, negative = _merge(style.prompt, prompt), _merge(style.negative_prompt, negative)
    return prompt, negative


def extract_styles(styles: Sequence[Style], prompt: str, negative: str, *,
                   positive_only: bool = False) -> tuple[list[str], str, str]:
    """(names, prompt, negative prompt) without the styles that were put in; names in the order of application."""
    found: list[str] = []
    rest = [style for style in styles if style.prompt or style.negative_prompt]
    while True:
        for style in rest:
            shorter = _without(prompt, style.prompt)
            shorter_negative = negative if positive_only else _without(negative, style.negative_prompt)
            if shorter is not None and shorter_negative is not None:
                found.append(style.name)
                prompt, negative = shorter, shorter_negative
                rest.remove(style)
                break
        else:
            return found[::-1], prompt, negative


def _merge(style: str, prompt: str) -> str:
    if "{prompt}" in style:
        return style.replace("{prompt}", prompt)
    return ", ".join(part for part in (prompt.strip(), style.strip()) if part)


def _without(text: str, style: str) -> str | None:
    """`text` as it was before `style` was applied to it; None when it was not."""
    text, style = text.strip(), style.strip()
    before, marker, after = style.partition("{prompt}")
    if marker:
        fits = text.startswith(before) and text.endswith(after) and len(text) >= len(before) + len(after)
        return text[len(before): len(text) - len(after)] if fits else None
    if not text.endswith(style):
        return None
    return text.removesuffix(style).removesuffix(", ") if style else text
