"""Control units in the parameters text: one key for each, "ControlNet 0", whose value has keys of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modules.errors import InvalidInput
from modules.request.control import ControlMode, ControlResize, ControlUnit

NAMES = {"Module": "module", "Model": "model", "Weight": "weight", "Resize Mode": "resize_mode",
         "Processor Res": "processor_res", "Threshold A": "threshold_a", "Threshold B": "threshold_b",
         "Guidance Start": "guidance_start", "Guidance End": "guidance_end", "Pixel Perfect": "pixel_perfect",
         "Control Mode": "control_mode"}
"""The keys in the order in which the extension writes them, and the unit's fields. It writes no others."""

KEY = re.compile(r"ControlNet \d{1,2}")
_PAIRS = re.compile(rf"(?:^|, )({'|'.join(NAMES)}): ")


def written(units: Sequence[ControlUnit]) -> Iterator[tuple[str, str]]:
    """Yield the key and the value of each unit."""
    for number, unit in enumerate(units):
        yield f"ControlNet {number}", ", ".join(f"{key}: {getattr(unit, name)}" for key, name in NAMES.items())


def typed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Each field of each unit in a parameters text by a key of its own, as the extension adds them: "ControlNet 0
    weight" is a number."""
    return {f"{key} {name}": value for key, text in parameters.items() if KEY.fullmatch(key) and isinstance(text, str)
            for name, value in _fields(text).items()}


def read(parameters: Mapping[str, Any]) -> tuple[ControlUnit, ...]:
    """The units of a parameters text, without their pictures. One whose values don't fit is left out."""
    found = []
    for key in sorted(parameters, key=lambda key: (len(key), key)):
        if not KEY.fullmatch(key) or not isinstance(parameters[key], str):
            continue
        fields = _fields(parameters[key])
        try:
            found.append(ControlUnit(**fields | {
                name: kind(fields[name]) for name, kind in (("resize_mode", ControlResize),
                                                            ("control_mode", ControlMode)) if name in fields}))
        except (InvalidInput, TypeError, ValueError):
            continue
    return tuple(found)


def _fields(text: str) -> dict[str, Any]:
    """The values by the unit's names; a model's name may hold commas and colons."""
    starts = [*_PAIRS.finditer(text)]
    ends = [*(match.start() for match in starts[1:]), len(text)]
    return {NAMES[match[1]]: _value(NAMES[match[1]], text[match.end() : end])
            for match, end in zip(starts, ends, strict=True)}


def _value(name: str, text: str) -> Any:
    """A flag, a number or a text, by the field's name. A number that is none stays a text."""
    if name == "pixel_perfect":
        return text == "True"
    if name in ("module", "model", "resize_mode", "control_mode"):
        return text
    try:
        return int(text) if name == "processor_res" and text.isdecimal() and len(text) < 10 else float(text)
    except ValueError:
        return text
