"""Presets in their file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modules.errors import InvalidInput
from modules.text.presets import load, save


def test_presets_of_a_tab_are_saved_replaced_and_deleted(tmp_path: Path) -> None:
    file = tmp_path / "data" / "presets.json"
    assert load(file, "inpaint") == {}
    save(file, "inpaint", "skin", {"steps": 20, "prompt": "gräulich", "styles": ["a"]})
    save(file, "txt2img", "skin", {"steps": 7})
    save(file, "inpaint", "sky", {"steps": 30})
    save(file, "inpaint", "skin", {"steps": 21})
    assert load(file, "inpaint") == {"sky": {"steps": 30}, "skin": {"steps": 21}}
    save(file, "inpaint", "sky", None)
    assert json.loads(file.read_text("utf-8")) == {"inpaint": {"skin": {"steps": 21}},
                                                   "txt2img": {"skin": {"steps": 7}}}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"inpaint": 5}', '{"inpaint": {"a": 5}}', "\xff", "[" * 100_000])
def test_a_broken_file_is_told_and_left_as_it_is(tmp_path: Path, content: str) -> None:
    file = tmp_path / "presets.json"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(InvalidInput, match="cannot be read"):
        load(file, "inpaint")
    with pytest.raises(InvalidInput, match="cannot be read"):
        save(file, "inpaint", "name", {})
    assert file.read_bytes() == content.encode("latin-1")


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "x" * 201])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="short name"):
        save(tmp_path / "presets.json", "inpaint", name, {})
    assert not list(tmp_path.iterdir())
