"""Patterns that clients send, and those that read what they send, search in linear time: a search holds the GIL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from modules.errors import InvalidInput
from modules.weights.merge import _discarded

PROJECT = Path(__file__).parents[1]

SEARCHES = {
    "discarded weights": "from modules.weights.merge import _discarded\n"
                         "assert not _discarded('(([a-z_]|[a-z._0-9])+)+!')('model.diffusion_model.' * 20)",
    "title": "from modules.errors import NotFound\nfrom modules.weights.catalog import Catalog\n"
             "try: Catalog((), (), None).find('a' + ' ' * 10**6 + 'b')\nexcept NotFound: pass",
    "range": "from modules.errors import InvalidInput\nfrom modules.scripts.axes import AXES\n"
             "axis = next(axis for axis in AXES if axis.label == 'Steps')\n"
             "try: axis._range(' ' * 10**6)\nexcept InvalidInput: pass"}


@pytest.mark.parametrize("search", SEARCHES)
def test_a_search_ends(search: str) -> None:
    """In a process of its own, because nothing else could stop it. It takes seconds, or for ever."""
    subprocess.run([sys.executable, "-c", SEARCHES[search]], cwd=PROJECT, timeout=300, check=True)


@pytest.mark.parametrize("pattern", ["(", r"(a)\1", "(?=a)", "a{5000}", "\ud800"])
def test_a_pattern_that_cannot_be_read_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        _discarded(pattern)


def test_names_are_found_as_a_pattern_says() -> None:
    assert [name for name in ("a.bias", "ab", "x.a.b") if _discarded(r"a\.b")(name)] == ["a.bias", "x.a.b"]
    assert not _discarded("")("a")
