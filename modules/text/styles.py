"""Prompt styles: named pieces of prompt in `styles.csv`, WebUI's file (columns name, prompt, negative_prompt)."""

from __future__ import annotations

import csv
import io
import locale
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modules.base.files import FileVersion, file_version, only_writer, write_whole
from modules.errors import InvalidInput

log = logging.getLogger(__name__)

LONGEST_NAME, LONGEST_TEXT = 200, 100_000  # Python's reader refuses fields of more than 131,072 characters

_reported: dict[Path, FileVersion | None] = {}
"""Which version of a file that cannot be read was reported."""


@dataclass(frozen=True)
class Style:
    """One style. `{prompt}` in a text is replaced by the user's prompt; without it the text is appended to the
    prompt."""

    name: str
    prompt: str = ""
    negative_prompt: str = ""


def load_styles(file: Path) -> tuple[Style, ...]:
    """The styles of a CSV file, in its order. Empty if there is no such file. Names that begin with # are comments.

    A file that is not a readable table of styles has none, and the log names it, once for each of its versions.
    """
    try:
        return tuple(style for style in _read(file) if not style.name.startswith("#"))
    except InvalidInput as error:
        version = file_version(file)
        if _reported.get(file, ()) != version:
            _reported[file] = version
            log.warning("%s It is left as it is, and there are no styles.", error.message)
        return ()


def check_styles(file: Path) -> None:
    """Raises InvalidInput where the file is there and is not a readable table of styles."""
    _read(file)


def _read(file: Path) -> list[Style]:
    """All rows with a name, comments included. Raises InvalidInput."""
    try:
        text = _decoded(file.read_bytes())
        # Excel's delimiter, by country
        delimiter = ";" if text.partition("\n")[0].lower().startswith(("name;", '"name";')) else ","
        rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
        if text.strip() and "name" not in (rows.fieldnames or ()):
            raise csv.Error('the first line has no column "name"')
        return [Style(row["name"], row.get("prompt") or "", row.get("negative_prompt") or "")
                for row in rows if row.get("name")]
    except FileNotFoundError:
        return []
    except (OSError, csv.Error) as error:
        raise InvalidInput(f"The styles in {file.name} cannot be read: {error}.") from error


def _decoded(content: bytes) -> str:
    """Text in UTF-8, or as Excel saves it: UTF-16 with its mark, or this computer's code page."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig", locale.getencoding(), "cp1252"]
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1")


def save_style(file: Path, style: Style) -> None:
    """Write `style` into the CSV file. It replaces the style of the same name or is appended; comments are kept.

    Raises InvalidInput if the name is invalid, a text is too long, or the file cannot be read or written.
    """
    if not style.name.strip() or style.name.startswith("#") or len(style.name) > LONGEST_NAME or "\n" in style.name:
        raise InvalidInput("A style needs a short name that does not begin with #.", field="styles")
    if max(len(style.prompt), len(style.negative_prompt)) > LONGEST_TEXT:
        raise InvalidInput("The prompt is too long for a style.", field="styles")
    try:
        with only_writer(file):
            rows = {row.name: row for row in _read(file)} | {style.name: style}
            table = io.StringIO(newline="")
            writer = csv.writer(table)
            writer.writerow(("name", "prompt", "negative_prompt"))
            writer.writerows((row.name, row.prompt, row.negative_prompt) for row in rows.values())
            write_whole(file, table.getvalue().encode("utf-8-sig"))
    except (OSError, UnicodeEncodeError) as error:
        raise InvalidInput(f"The style could not be written to {file.name}: {error}.") from error


def apply_styles(names: Sequence[str], styles: Sequence[Style], prompt: str, negative: str) -> tuple[str, str]:
    """(prompt, negative prompt) with the named styles merged in one after the other. Unknown names are ignored.

    Raises InvalidInput if a text becomes longer than `LONGEST_TEXT`.
    """
    known = {style.name: style for style in styles}
    for style in (known[name] for name in names if name in known):
        prompt, negative = _merge(style.prompt, prompt), _merge(style.negative_prompt, negative)
        if max(len(prompt), len(negative)) > LONGEST_TEXT:
            raise InvalidInput(f"The styles make the prompt longer than {LONGEST_TEXT} characters.", field="styles")
    return prompt, negative


def extract_styles(styles: Sequence[Style], prompt: str, negative: str, *,
                   positive_only: bool = False) -> tuple[list[str], str, str]:
    """Find the styles that are merged into the prompts: (names in the order of application, prompt, negative prompt).

    The returned prompts are without these styles. With `positive_only` a style need not match the negative prompt.
    """
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
    """`text` as it was before `style` was applied. None if it was not applied."""
    text, style = text.strip(), style.strip()
    before, marker, after = style.partition("{prompt}")
    if marker:
        fits = text.startswith(before) and text.endswith(after) and len(text) >= len(before) + len(after)
        return text[len(before): len(text) - len(after)] if fits else None
    if not text.endswith(style):
        return None
    return text.removesuffix(style).removesuffix(", ") if style else text
