"""Completion in the prompt: what the word before the cursor may become."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from modules.base.files import file_version
from modules.engine.networks import Networks
from modules.engine.wildcards import Wildcards
from modules.settings import Settings
from modules.text.styles import Style, load_styles
from modules.text.tag_list import TagList
from modules.weights.catalog import files_below

Found = TypeVar("Found")

MOST = 12
SHORTEST = 2
"""Characters of a word that is completed."""

LONGEST = 200


@dataclass(frozen=True)
class Entry:
    """One line of the list. `text` takes the place of the last `replaces` characters. `kind` is "lora", "embedding",
    "hypernetwork", "style", "wildcard", "word" or "tag"; `note` says more, such as how many pictures have a tag."""

    kind: str
    name: str
    text: str
    replaces: int
    note: str = ""


class Completion:
    """`words` are those that the checkpoint knows. Files of styles and tags are looked for at each question. For any
    thread."""

    def __init__(self, settings: Settings, networks: Networks, wildcards: Wildcards,
                 words: Callable[[], Sequence[str]] = lambda: ()) -> None:
        self._settings, self._networks, self._wildcards, self._words = settings, networks, wildcards, words
        self._styles: _Known[tuple[Style, ...]] = _Known()
        self._tags: _Known[TagList] = _Known()

    def of(self, before: str) -> list[Entry]:
        """What may stand at the end of the text `before` the cursor. It begins behind the last comma, bracket or line
        break; `<` begins a network's tag and `__` a wildcard."""
        before = before[-LONGEST:]
        found: dict[str, Entry] = {}
        for entry in self._all(before):
            if not before.endswith(entry.text):
                found.setdefault(entry.text, entry)
            if len(found) == MOST:
                break
        return list(found.values())

    def _all(self, before: str) -> Iterator[Entry]:
        tag = before.rpartition("<")[2] if "<" in before and ">" not in before.rpartition("<")[2] else None
        if tag is not None:
            yield from self._networks_named(tag.rpartition(":")[2], len(tag) + 1)
            return
        place = before.rfind("__")
        name = before[place + 2 :]
        if place >= 0 and before.count("__") % 2 and all(sign.isalnum() or sign in "_-./*" for sign in name):
            for one in _fitting(self._wildcards.names(), name):
                yield Entry("wildcard", one, f"__{one}__", len(name) + 2)
            return
        phrase = before[max(map(before.rfind, ",\n()[]{}<>|:")) + 1 :].lstrip()
        word = phrase.rpartition(" ")[2]
        for text in dict.fromkeys((phrase, word)):
            if len(text) >= SHORTEST:
                yield from self._written(text)

    def _written(self, text: str) -> Iterator[Entry]:
        length = len(text)
        for name in _fitting([file.name for file in self._networks.embeddings.files()], text):
            yield Entry("embedding", name, name, length)
        yield from self._networks_named(text, length)
        for word in _fitting(self._words(), text):
            yield Entry("word", word, word, length)
        for style in self._known_styles():
            if style.prompt and style.name.lower().startswith(text.lower()):
                yield Entry("style", style.name, style.prompt.replace("{prompt}", "").strip(", "), length)
        for tag in self._known_tags().starting(text, MOST):
            yield Entry("tag", tag.text.replace("\\", ""), tag.text, length, f"{tag.count:,}" if tag.count else "")

    def _networks_named(self, text: str, length: int) -> Iterator[Entry]:
        for kind, word, files in (("lora", "lora", self._networks.loras),
                                  ("hypernetwork", "hypernet", self._networks.hypernetworks)):
            for name in _fitting([file.name for file in files.files()], text):
                yield Entry(kind, name, f"<{word}:{name}:1>", length)

    def _known_styles(self) -> tuple[Style, ...]:
        file = self._settings.styles_file
        return self._styles.get(file_version(file), lambda: load_styles(file))

    def _known_tags(self) -> TagList:
        files = [path for path, _ in files_below(self._settings.tag_dirs, (".csv",))]
        return self._tags.get(tuple((path, file_version(path)) for path in files), lambda: TagList(files))


class _Known(Generic[Found]):
    """What was read of the newest version of files."""

    def __init__(self) -> None:
        self._kept: tuple[Hashable, Found] | None = None

    def get(self, version: Hashable, read: Callable[[], Found]) -> Found:
        """What `read` gives, read anew when the version has changed."""
        kept = self._kept
        if kept is None or kept[0] != version:
            kept = self._kept = version, read()
        return kept[1]


def _fitting(names: Sequence[str], text: str) -> list[str]:
    """Those that begin with `text`, then those in which a later word does."""
    wanted = text.lower()
    first, later = [], []
    for name in names:
        low = name.lower()
        if low.startswith(wanted):
            first.append(name)
        elif len(wanted) >= SHORTEST and any(f"{sign}{wanted}" in low for sign in " _-./"):
            later.append(name)
        if len(first) == MOST:
            break
    return (first + later)[:MOST]
