"""The record of how a picture was made from a photograph: its source, and the edits one after the other, as JSON.

A saved picture carries it in its EXIF (ImageHistory), so that the edits can be listed, changed and made again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

MOST_BYTES = 32 * 2**20
"""A longer record is not read."""
MOST_STEPS = 500
VERSION = 1


@dataclass(frozen=True)
class Source:
    """The file that the first edit began with. `nbytes` is its length; the name is empty if it is not to be told."""

    sha256: str
    nbytes: int
    width: int
    height: int
    name: str = ""


@dataclass(frozen=True)
class Kept:
    """A part that the keep-brush has painted in: its mask as a PNG in base64, and the edits that make its picture of
    the one that there was after the first `start` edits of the record."""

    mask: str
    start: int
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Step:
    """One edit: the parameters text of its picture, and its mask as a PNG in base64, in the size of the picture.

    `fields` and `options` are values of the request that the text has no key for. An edit of the keep-brush has the
    parts that were `kept`, and no mask of its own. One that `removes` takes away what the mask paints over.
    """

    text: str
    mask: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    kept: tuple[Kept, ...] = ()
    removes: bool = False


@dataclass(frozen=True)
class Edits:
    """The whole record. `pixels` is the SHA-256 of the result's values: another program may have changed the picture
    and kept the record."""

    source: Source
    steps: tuple[Step, ...]
    pixels: str = ""

    def to_json(self) -> str:
        """As ASCII text."""
        return json.dumps({"version": VERSION, **asdict(self)}, separators=(",", ":"))


def from_json(text: str) -> Edits | None:
    """The record in `text`. None for anything else: it comes from a file of anybody's."""
    if len(text) > MOST_BYTES:
        return None
    try:
        found = json.loads(text)
        source, steps = found["source"], found["steps"]
        if found["version"] != VERSION or not 0 < _count(steps) <= MOST_STEPS:
            return None
        return Edits(Source(_text(source["sha256"]), _length(source["nbytes"]), int(source["width"]),
                            int(source["height"]), _text(source["name"])),
                     _steps(steps), _text(found["pixels"]))
    except (ValueError, OverflowError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _count(steps: Any) -> int:
    """How many edits there are, with those that make kept parts."""
    return len(steps) + sum(_count(kept["steps"]) for step in steps for kept in step.get("kept", ()))


def _steps(steps: Any) -> tuple[Step, ...]:
    return tuple(Step(_text(step["text"]), _text(step["mask"]), _table(step["fields"]), _table(step["options"]),
                      tuple(Kept(_text(kept["mask"]), _length(kept["start"]), _steps(kept["steps"]))
                            for kept in step.get("kept", ())), step.get("removes") is True) for step in steps)


def _length(value: Any) -> int:
    """A number of bytes that a file can have, and that a database takes."""
    if not 0 <= (length := int(value)) < 2**63:
        raise ValueError
    return length


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _table(value: Any) -> dict[str, Any]:
    """A flat table of flags, numbers and texts."""
    table = dict(value)
    if not all(isinstance(name, str) and isinstance(one, str | int | float | None) for name, one in table.items()):
        raise TypeError
    return table
