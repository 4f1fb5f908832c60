"""Lists of tags for completion in the prompt: `tags/*.csv` in danbooru's format.

A line is `tag,category,count,"alias,alias"`; all but the tag may be left out.
"""

from __future__ import annotations

import bisect
import csv
import heapq
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

MOST_BYTES = 2**26
LONGEST = 100


@dataclass(frozen=True)
class Tag:
    """A tag as prompts write it, and how many pictures have it."""

    text: str
    count: int = 0


class TagList:
    """Tags by the beginnings of their names and aliases."""

    def __init__(self, files: Sequence[Path] = ()) -> None:
        entries = [entry for file in files for entry in _entries(file)]
        entries.sort(key=lambda entry: entry[0])
        self._keys = [key for key, _ in entries]
        self._tags = [tag for _, tag in entries]

    def __len__(self) -> int:
        return len(self._keys)

    def starting(self, text: str, most: int) -> list[Tag]:
        """The most frequent tags whose name or alias begins with `text`, in any case, with "_" or " "."""
        key = _key(text)
        first = bisect.bisect_left(self._keys, key)
        last = bisect.bisect_right(self._keys, key + "\U0010ffff")
        best = heapq.nlargest(2 * most, self._tags[first:last], key=lambda tag: tag.count)
        return list(dict.fromkeys(best))[:most]


def _key(text: str) -> str:
    return text.lower().replace("_", " ").strip()


def _entries(file: Path) -> list[tuple[str, Tag]]:
    try:
        with file.open("rb") as opened:
            rows = list(csv.reader(io.StringIO(opened.read(MOST_BYTES).decode("utf-8-sig", "replace"), newline="")))
    except (OSError, csv.Error) as error:
        log.warning("The tags in %s cannot be read: %s.", file.name, error)
        return []
    found = []
    for row in rows:
        if not row or not row[0].strip() or len(row[0]) > LONGEST:
            continue
        count = int(row[2]) if len(row) > 2 and row[2].isascii() and row[2].isdigit() else 0
        # Brackets are weights in a prompt.
        written = row[0].strip().replace("_", " ").replace("(", "\\(").replace(")", "\\)")
        tag = Tag(written, count)
        names = [row[0], *(row[3].split(",") if len(row) > 3 else ())]
        found += [(_key(name), tag) for name in names if name.strip()]
    return found
