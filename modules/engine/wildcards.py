"""The lists of wildcards, `wildcards/*.txt`, and requests with wildcards in their prompts."""

from __future__ import annotations

import dataclasses
import fnmatch
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from modules.base.files import FileVersion, file_version
from modules.request import Img2Img, Txt2Img, seed_after
from modules.request.options import Options
from modules.text.wildcards import draw, has_wildcards
from modules.weights.catalog import files_below

log = logging.getLogger(__name__)

MOST_BYTES = 2**24
"""Of a list that is read."""

TEMPLATES = {"prompt": "Template", "negative_prompt": "Negative Template", "hr_prompt": "Hires Template",
             "hr_negative_prompt": "Hires Negative Template"}
"""The prompts of a request, and under which key of the parameters text each stands with its wildcards."""

PAGE, EVERYWHERE, OFF = "page", "everywhere", "off"
"""Values of the option `wildcards`. A request is carried out with wildcards if it has `EVERYWHERE`."""


def of_page(options: Options) -> Options:
    """The options of a request that the page makes."""
    return options.replaced({"wildcards": EVERYWHERE}) if options.wildcards == PAGE else options


class Wildcards:
    """The lists in some folders, by their path there without suffix: "animals/cats". For any thread.

    A list is a text file with one entry a line; lines that begin with # are comments. The folders are scanned at the
    start, at each `refresh`, and when a name is asked for that is not known.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)
        self._files: dict[str, Path] = {}
        self._read: dict[Path, tuple[FileVersion | None, tuple[str, ...]]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Scan the folders again. Of two lists of one name the first counts."""
        found: dict[str, Path] = {}
        for path, filename in files_below(self._folders, (".txt",)):
            found.setdefault(filename[: -len(".txt")], path)
        self._files = dict(sorted(found.items()))

    def names(self) -> list[str]:
        """The names of all lists, sorted."""
        return list(self._files)

    def lines(self, name: str) -> tuple[str, ...]:
        """The lines of a list by its path or its file's name; with * in the name those of all that fit. None if there
        is no such list."""
        paths = self._find(name)
        if not paths:
            self.refresh()
            paths = self._find(name)
        return tuple(line for path in paths for line in self._lines(path))

    def singles(self, request: Txt2Img) -> list[Txt2Img] | None:
        """The pictures of a resolved `request` as requests for one each, where each may have another prompt. None if
        there is nothing to draw."""
        texts = [getattr(request, name) for name in TEMPLATES]
        if request.options.wildcards != EVERYWHERE or not any(map(has_wildcards, texts)):
            return None
        return [_single(request, number) for number in range(request.n_iter * request.batch_size)]

    def drawn(self, request: Txt2Img) -> tuple[Txt2Img, dict[str, str], tuple[str, ...]]:
        """The request for one picture with its wildcards drawn by its seed, the keys for its parameters text, and a
        sentence for each name without a list. Raises InvalidInput for a prompt that becomes too long."""
        unknown: dict[str, None] = {}

        def lines(name: str) -> tuple[str, ...]:
            found = self.lines(name)
            if not found:
                unknown[name] = None
            return found

        varied = f" {request.subseed}" if request.subseed_strength else ""
        before = {name: getattr(request, name) for name in TEMPLATES}
        after: dict[str, Any] = {name: draw(text, f"{request.seed}{varied} {name}", lines)
                                 for name, text in before.items()}
        keys = {TEMPLATES[name]: text for name, text in before.items() if text != after[name]}
        options = request.options.replaced({"wildcards": OFF})
        return (dataclasses.replace(request, **after, options=options), keys,
                tuple(f"There is no wildcard __{name}__: no file wildcards/{name}.txt has a line." for name in unknown))

    def _find(self, name: str) -> list[Path]:
        if "*" in name:
            return [self._files[one] for one in fnmatch.filter(self._files, name)]
        if name in self._files:
            return [self._files[name]]
        return [path for path in self._files.values() if path.stem == name][:1]

    def _lines(self, path: Path) -> tuple[str, ...]:
        version, known = file_version(path), self._read.get(path)
        if known is None or known[0] != version:
            known = version, tuple(_entries(path))
            self._read[path] = known
        return known[1]


def _entries(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES).decode("utf-8-sig", "replace")
    except OSError as error:
        log.warning("The wildcards in %s cannot be read: %s.", path.name, error.strerror or error)
        return
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()


def _single(request: Txt2Img, number: int) -> Txt2Img:
    """Picture `number` of a request, counted through all batches."""
    changes: dict[str, Any] = {"n_iter": 1, "batch_size": 1, "subseed": seed_after(request.subseed, number)}
    if not request.subseed_strength:
        changes["seed"] = seed_after(request.seed, number)
    if isinstance(request, Img2Img) and len(request.init_images) > 1:
        place = number % request.batch_size
        changes["init_images"] = request.init_images[place : place + 1]
        photographs = getattr(request, "photographs", ())
        if photographs:
            changes["photographs"] = photographs[place : place + 1]
    return dataclasses.replace(request, **changes)
