"""Fields are declared once: what the page, the API, the text, the command line and the plot make of that."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modules.request import Img2Img, Inpaint, Txt2Img
from modules.request.fields import declared, find, own
from modules.request.options import Options
from modules.text.infotext.keys import RULED

PROJECT = Path(__file__).parents[2]

ADDED = {
    "request.py": (("    enable_hr: bool = field(", """\
    wobble: float = field(0.5, "Wobble", "How much.", low=0, high=2, step=0.25, text="Wobble", cli="--wobble",
                          axis="Wobble", advanced=True)
"""), ("    soft: SoftInpainting | None = None", """\
    mirrored: bool = field(False, "Mirrored mask", text="Mirrored mask", api="mirror_mask", cli="--mirrored",
                           axis="Mirrored", advanced=True)
""")),
    "options.py": (("    # noise\n", """\
    loudness: str = option("soft", "Loudness", choices=("soft", "loud"), text="Loudness", axis="Loudness",
                           advanced=True)
"""),)}
"""Declarations of two fields and an option, by file, and the line that each is put before."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a copy of the program with `ADDED` in it shows of that; see `added_fields.py`."""
    copy, empty = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("empty")
    shutil.copytree(PROJECT / "modules", copy / "modules", ignore=shutil.ignore_patterns("__pycache__"))
    for name, insertions in ADDED.items():
        file = copy / "modules" / "request" / name
        code = file.read_text("utf-8")
        for line, added in insertions:
            assert code.count(line) == 1
            code = code.replace(line, f"{added}{line}")
        file.write_text(code, "utf-8")
    script = Path(__file__).with_name("added_fields.py")
    done = subprocess.run([sys.executable, str(script), str(copy), str(empty)], capture_output=True, text=True,
                          check=False, cwd=empty)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_a_declared_field_is_in_the_http_api(found: dict[str, Any]) -> None:
    assert found["api"] == {"schema": [0.5, "number", "boolean", False], "sent": [1.5, True, "loud"],
                            "from a text": [1.5, True, "loud"]}


def test_a_declared_field_is_in_the_parameters_text_both_ways(found: dict[str, Any]) -> None:
    assert found["text"] == {
        "pairs": "Mask blur: 4, Loudness: loud, Wobble: 1.5, Mirrored mask: True", "plain": False,
        "back": [1.5, True, "loud"], "usual": [0.5, False, "soft"], "unsupported": []}


def test_a_declared_field_has_its_flag(found: dict[str, Any]) -> None:
    assert found["flags"] == [1.5, True, "loud"]


def test_a_declared_field_is_an_axis_behind_all_others(found: dict[str, Any]) -> None:
    assert found["plot"]["request"] == [0.25, False, "soft"]
    assert found["plot"]["last"] == [["Lora weight", "Loudness", "Wobble"], ["Loudness", "Wobble", "Mirrored"]]


def test_a_declared_field_is_on_the_page(found: dict[str, Any]) -> None:
    assert found["page"] == {
        "slider": ["Wobble", 0, 2, 0.25, 0.5, "How much."], "box": ["Mirrored mask", False],
        "radio": ["Loudness", ["soft", "loud"], "soft"], "txt2img": [True, False, True],
        "request": [0.5, False, "soft"], "left out": False, "pasted": [1.5, True, "loud"]}


def test_a_declared_range_is_checked(found: dict[str, Any]) -> None:
    assert found["refusal"] == "wobble must be between 0 and 2, not 2.5."


def test_what_is_own_is_what_the_base_lacks() -> None:
    names = [[item.name for item in own(kind)] for kind in (Txt2Img, Img2Img, Inpaint)]
    assert names[0] == [item.name for item in declared(Txt2Img)]
    assert names[1] == ["resize_mode", "initial_noise_multiplier", "image_cfg_scale"]
    assert [*names[0], *names[1], *names[2]] == [item.name for item in declared(Inpaint)]


def test_keys_with_a_rule_are_declared() -> None:
    """A key that nobody declares would never be read."""
    declared_keys = {item.text for table in (Inpaint, Options) for item in declared(table)}
    assert RULED - declared_keys == set()


@pytest.mark.parametrize(("name", "text", "value"), [
    ("steps", "7", 7), ("steps", "7.9", 7), ("steps", "-0", 0), ("seed", "1" * 30, int("1" * 30)),
    ("cfg_scale", "7", 7.0), ("refiner_switch_at", "0.25", 0.25), ("mask_round", "False", False),
    ("mask_round", "true", True), ("sampler", "DDIM", "DDIM")])
def test_a_text_is_read_as_the_fields_type(name: str, text: str, value: object) -> None:
    read = find(Inpaint, name).read(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(("name", "text"), [
    ("steps", "many"), ("steps", "inf"), ("cfg_scale", "nan"), ("cfg_scale", "1e999"), ("mask_round", "1"),
    ("seed", "9" * 5000)])
def test_a_text_that_is_no_such_value_is_refused(name: str, text: str) -> None:
    with pytest.raises(ValueError):
        find(Inpaint, name).read(text)
