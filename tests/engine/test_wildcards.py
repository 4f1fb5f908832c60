"""Requests with wildcards: each picture's own prompt, its parameters text, and who gets none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modules.engine.engine import Engine
from modules.engine.wildcards import EVERYWHERE, Wildcards, of_page
from modules.request import Img2Img, Txt2Img
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.text import infotext

ON = Options(wildcards=EVERYWHERE, sd_model_checkpoint="first")


@pytest.fixture
def lists(engine: Engine) -> Path:
    """The folder of wildcards, with one list."""
    folder = engine.settings.data_dir / "wildcards"
    (folder / "animals").mkdir(parents=True)
    (folder / "animals" / "cats.txt").write_text("\ufeff# cats\ntabby\n\n  ginger  \nsphinx\nmanx\n", encoding="utf-8")
    return folder


def small(**changes: Any) -> Txt2Img:
    return Txt2Img(**{"width": 16, "height": 16, "steps": 2, "options": ON} | changes)


def test_each_picture_has_the_prompt_that_its_seed_draws(engine: Engine, lists: Path) -> None:
    template = "a __animals/cats__ in {red|blue|green|gold}"
    result = engine.generate(small(prompt=template, negative_prompt="{x|y}", seed=7, batch_size=3, n_iter=2), NullJob())
    read = [infotext.parse(made.infotext) for made in result.images]
    assert [made.seed for made in result.images] == [7, 8, 9, 10, 11, 12]
    assert {one["Template"] for one in read} == {template}
    assert {one["Negative Template"] for one in read} == {"{x|y}"}
    assert len({one["Prompt"] for one in read}) > 1
    for one, made in zip(read, result.images, strict=True):
        again = engine.generate(small(prompt=template, negative_prompt="{x|y}", seed=made.seed), NullJob()).images[0]
        assert again.infotext == made.infotext
        plain = engine.generate(small(prompt=one["Prompt"], negative_prompt=one["Negative prompt"], seed=made.seed),
                                NullJob()).images[0]
        assert plain.image.tobytes() == made.image.tobytes()
        assert "Template" not in plain.infotext
    assert not infotext.to_changes(read[0]).unsupported


def test_several_pictures_to_start_from_keep_their_places(engine: Engine, lists: Path) -> None:
    pictures = tuple(Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    request = {"width": 16, "height": 16, "steps": 2, "init_images": pictures, "denoising_strength": 0.1, "seed": 1,
               "sampler": "DDIM"}
    made = engine.generate(Img2Img(**request, prompt="{a|b}", options=ON), NullJob()).images
    plain = engine.generate(Img2Img(**request, options=ON), NullJob()).images
    assert len(made) == 2
    for one, other in zip(made, plain, strict=True):
        colours = [sum(picture.image.resize((1, 1)).getpixel((0, 0))[::2]) for picture in (one, other)]
        assert abs(colours[0] - colours[1]) < 60


def test_programs_get_their_braces_and_the_page_draws(engine: Engine, lists: Path) -> None:
    usual = Options(sd_model_checkpoint="first")
    for options in (usual, usual.replaced({"wildcards": "off"})):
        made = engine.generate(small(prompt="{a|b} __animals/cats__", options=options, seed=1), NullJob()).images[0]
        assert infotext.parse(made.infotext)["Prompt"] == "{a|b} __animals/cats__"
    assert of_page(usual).wildcards == EVERYWHERE
    assert of_page(usual.replaced({"wildcards": "off"})).wildcards == "off"


def test_a_name_without_a_list_is_told(engine: Engine, lists: Path) -> None:
    result = engine.generate(small(prompt="__dogs__", seed=1), NullJob())
    assert result.warnings == ("There is no wildcard __dogs__: no file wildcards/dogs.txt has a line.",)
    assert infotext.parse(result.images[0].infotext)["Prompt"] == "__dogs__"


def test_lists_are_found_by_path_by_name_and_by_pattern_and_read_anew(tmp_path: Path) -> None:
    wildcards = Wildcards([tmp_path])
    assert wildcards.lines("cats") == ()
    (tmp_path / "animals").mkdir()
    file = tmp_path / "animals" / "cats.txt"
    file.write_text("tabby\n")
    (tmp_path / "animals" / "dogs.txt").write_text("pug\n")
    assert wildcards.lines("animals/cats") == wildcards.lines("cats") == ("tabby",)
    assert set(wildcards.lines("animals/*")) == {"tabby", "pug"}
    assert wildcards.names() == ["animals/cats", "animals/dogs"]
    file.write_text("manx\n")
    os.utime(file, ns=(1, 1))
    assert wildcards.lines("cats") == ("manx",)
    assert wildcards.lines("../animals/cats") == ()
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\n")
    assert len(wildcards.lines("bytes")) == 1
