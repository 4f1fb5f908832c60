"""Styles: WebUI's file read, a style written into it and read back, merged into prompts."""

from __future__ import annotations

import csv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modules.errors import InvalidInput
from modules.text.styles import Style, apply_styles, load_styles, save_style


def test_a_style_is_written_and_read_back(tmp_path: Path) -> None:
    file = tmp_path / "styles.csv"
    save_style(file, Style("oil", 'thick paint, "impasto"\nlines', "photo"))
    save_style(file, Style("wrapped, 油画", "a {prompt} b", ""))
    assert load_styles(file) == (Style("oil", 'thick paint, "impasto"\nlines', "photo"),
                                 Style("wrapped, 油画", "a {prompt} b", ""))
    with file.open(encoding="utf-8-sig", newline="") as rows:
        assert next(csv.reader(rows)) == ["name", "prompt", "negative_prompt"]
    assert [path.name for path in tmp_path.iterdir()] == ["styles.csv"]


def test_saving_again_replaces_in_place_and_keeps_comments(tmp_path: Path) -> None:
    file = tmp_path / "styles.csv"
    file.write_text("name,prompt,negative_prompt\n# mine,,\na,1,2\nb,3,4\n", encoding="utf-8")
    save_style(file, Style("a", "new", ""))
    assert load_styles(file) == (Style("a", "new", ""), Style("b", "3", "4"))
    assert "# mine" in file.read_text(encoding="utf-8-sig")


@pytest.mark.parametrize("style", [Style(""), Style("  "), Style("# note"), Style("a\nb"), Style("x" * 300),
                                   Style("long", "x" * 200_000), Style("half", "\ud83d")])
def test_what_cannot_be_kept_is_refused_and_changes_nothing(tmp_path: Path, style: Style) -> None:
    file = tmp_path / "styles.csv"
    save_style(file, Style("a", "1"))
    before = file.read_bytes()
    with pytest.raises(InvalidInput):
        save_style(file, style)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["styles.csv"]


def test_applying_goes_in_order_and_leaves_unknown_names_out() -> None:
    styles = (Style("wrap", "fine {prompt}", "{prompt}, bad"), Style("add", "sharp", ""))
    assert apply_styles(["add", "nobody", "wrap"], styles, "dog ", "cat") == ("fine dog, sharp", "cat, bad")


TABLE = "name,prompt,negative_prompt\r\nÖl,dicke Farbe,Foto\r\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_tables_are_read_as_excel_saves_them(tmp_path: Path, encoding: str, delimiter: str) -> None:
    file = tmp_path / "styles.csv"
    file.write_bytes(TABLE.replace(",", delimiter).encode(encoding))
    assert load_styles(file) == (Style("Öl", "dicke Farbe", "Foto"),)
    save_style(file, Style("neu", "a"))
    assert load_styles(file) == (Style("Öl", "dicke Farbe", "Foto"), Style("neu", "a"))


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\x00\x00", b'name,prompt\n"' + b"a" * 200_000])
def test_a_broken_file_is_named_once_and_left_alone(tmp_path: Path, content: bytes,
                                                    caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "styles.csv"
    file.write_bytes(content)
    assert load_styles(file) == load_styles(file) == ()
    assert len([text for text in caplog.messages if "styles.csv" in text]) == 1
    with pytest.raises(InvalidInput, match=r"styles\.csv"):
        save_style(file, Style("a", "1"))
    assert file.read_bytes() == content


def test_styles_that_are_saved_at_once_are_all_there(tmp_path: Path) -> None:
    file = tmp_path / "styles.csv"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: save_style(file, Style(f"s{number}", "x" * 1000)), range(60)))
    assert {style.name for style in load_styles(file)} == {f"s{number}" for number in range(60)}


def test_styles_that_grow_without_end_are_refused() -> None:
    doubling = Style("twice", "{prompt}{prompt}")
    assert apply_styles(["twice"] * 3, [doubling], "dog", "")[0] == "dog" * 8
    with pytest.raises(InvalidInput, match="100000"):
        apply_styles(["twice"] * 60, [doubling], "dog", "")
