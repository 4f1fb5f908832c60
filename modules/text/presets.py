"""Presets: all settings of a tab under a name, in `presets.json`: an object of tabs, of presets by name, of values by
the names of the controls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modules.base.files import only_writer, write_whole
from modules.errors import InvalidInput

LONGEST_NAME = 200
Values = Mapping[str, Any]


def load(file: Path, tab: str) -> dict[str, dict[str, Any]]:
    """The presets of a tab by name, in the file's order. Empty if there is no such file. Raises InvalidInput for a file
    that cannot be read."""
    found = _read(file).get(tab, {})
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise _unreadable(file, "a tab is no object of presets")
    return found


def save(file: Path, tab: str, name: str, values: Values | None) -> None:
    """Write a preset; it replaces that of the same name. Without `values` it is deleted. Presets of other tabs stay.

    Raises InvalidInput if the name is invalid, or the file cannot be read or written.
    """
    if not name.strip() or len(name) > LONGEST_NAME or "\n" in name:
        raise InvalidInput("A preset needs a short name.", field="preset")
    try:
        with only_writer(file):
            presets = load(file, tab)
            presets.pop(name, None)
            if values is not None:
                presets[name] = dict(values)
            whole = _read(file) | {tab: presets}
            write_whole(file, json.dumps(whole, indent=1, ensure_ascii=False).encode())
    except (OSError, UnicodeEncodeError) as error:
        raise InvalidInput(f"The preset could not be written to {file.name}: {error}.") from error


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(file, error) from error
    if not isinstance(found, dict):
        raise _unreadable(file, "it is no object of tabs")
    return found


def _unreadable(file: Path, reason: object) -> InvalidInput:
    return InvalidInput(f"The presets in {file.name} cannot be read: {reason}.")
