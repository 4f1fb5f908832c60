"""What the Train tab's script asks the server."""

from __future__ import annotations

import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from gradio.utils import get_upload_folder
from PIL import Image

from modules.engine.engine import Engine
from modules.jobs.queue import JobQueue
from modules.ui.canvas.canvas import encode_mask
from modules.ui.tabs import train

Ask = Any


@pytest.fixture
def ask(engine: Engine, queue: JobQueue) -> Ask:
    functions: dict[str, Any] = {one.__name__: one for one in train.answers(
        SimpleNamespace(engine=engine, queue=queue))}  # type: ignore[arg-type]
    return lambda name, **question: functions[name](question)


@pytest.fixture
def uploaded(tmp_path: Path) -> str:
    folder = Path(get_upload_folder()) / "lesson"
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (128, 64)).save(folder / "a.png")
    return str(folder / "a.png")


def test_only_uploaded_files_are_added(ask: Ask, uploaded: str, tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "b.png")
    assert ask("new_folder", folder=" robot ")["folders"] == ["robot"]
    for path in (str(tmp_path / "b.png"), "../b.png", "/etc/passwd", "a\0b"):
        assert "uploaded" in ask("add", folder="robot", files=[{"name": "b.png", "path": path}])["problem"]
    found = ask("add", folder="robot", files=[{"name": "x.png", "path": uploaded}])
    assert [(one["name"], one["size"]) for one in found["pictures"]] == [("x.png", "128 x 64")]
    assert found["sizes"] == [{"size": "704 x 384", "count": 1}]
    assert "There is no folder" in ask("folder", folder="../robot")["problem"]


def test_a_caption_by_a_describer_is_written(ask: Ask, uploaded: str, engine: Engine,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    ask("new_folder", folder="robot")
    ask("add", folder="robot", files=[{"name": "x.png", "path": uploaded}])
    monkeypatch.setattr(engine.describers, "named", lambda model: model)
    monkeypatch.setattr(engine.describers, "describe", lambda image, model, *_: f"{model} sees {image.size}")
    assert ask("caption", folder="robot", picture="x.png", describer="blip")["caption"] == "blip sees (128, 64)"
    assert (engine.settings.datasets_dir / "robot" / "x.txt").read_text() == "blip sees (128, 64)"
    assert "no longer there" in ask("caption", folder="robot", picture="../x.png", describer="blip")["problem"]


def test_a_mask_and_a_crop_are_written_and_taken_away(ask: Ask, uploaded: str, engine: Engine) -> None:
    ask("new_folder", folder="robot")
    ask("add", folder="robot", files=[{"name": "x.png", "path": uploaded}])
    named = {"folder": "robot", "picture": "x.png"}
    found = ask("opened", **named)
    assert (found["value"]["size"], found["value"]["mask"], found["crop"]) == ((128, 64), None, (0, 0, 128, 64))
    mask = Image.new("L", (128, 64))
    mask.paste(255, (0, 0, 32, 64))
    for crop, sentence in (("64x64+96+0", "does not lie in the picture"), ("0x0+0+0", "no part"), (None, "no part")):
        assert sentence in ask("mark", **named, mask=encode_mask(mask), crop=crop)["problem"]
    assert "another size" in ask("mark", **named, mask=encode_mask(mask.resize((64, 64))), crop="64x64+0+0")["problem"]
    (shown,) = ask("mark", **named, mask=encode_mask(mask), crop="64x64+0+0")["pictures"]
    assert (shown["masked"], shown["crop"], shown["size"]) == (True, "64 x 64", "128 x 64")
    found = ask("opened", **named)
    assert (found["value"]["mask"], found["crop"]) == (encode_mask(mask), (0, 0, 64, 64))
    (shown,) = ask("unmark", **named, what="crop")["pictures"]
    assert (shown["masked"], shown["crop"]) == (True, "")
    (shown,) = ask("unmark", **named, what="mask")["pictures"]
    assert (shown["masked"], shown["crop"]) == (False, "")
    assert "no longer there" in ask("opened", folder="robot", picture="../x.png")["problem"]


def test_the_file_is_what_the_command_line_takes(ask: Ask, tmp_path: Path) -> None:
    question = {"settings": {"checkpoint": "first", "name": "robot", "rank": "12", "rate": "2e-4", "flip": True},
                "dataset": {"folder": "robot", "trigger": "rbt", "repeats": "2"}, "samples": "a\n\n b \n"}
    text = ask("toml", **question)["toml"]
    assert tomllib.loads(text) == {
        "checkpoint": "first", "name": "robot", "rank": 12, "rate": 2e-4, "flip": True, "samples": ["a", "b"],
        "datasets": [{"folder": "datasets/robot", "repeats": 2, "trigger": "rbt"}]}


@pytest.mark.parametrize(("given", "sentence"), [
    ({"rank": ""}, "Rank must be a number"), ({"rank": "0"}, "between 1 and 1024"),
    ({"rate": "nan"}, "Learning rate must be a number"),
    ({"kind": "x"}, "there are lora"), ({"name": "a/b"}, "cannot be a file's name"), ({"seed": True}, "seed is True")])
def test_wrong_values_are_named(ask: Ask, given: dict[str, Any], sentence: str) -> None:
    ask("new_folder", folder="robot")
    wanted = {"checkpoint": "first", "name": "x"} | given
    assert sentence in ask("train", settings=wanted, dataset={"folder": "robot", "trigger": "x"})["problem"]


def test_the_page_holds_the_tab_only_as_a_few_lines() -> None:
    with gr.Blocks():
        view = train.build(SimpleNamespace(engine=SimpleNamespace(settings=SimpleNamespace(
            datasets_dir=Path("x"), max_image_mp=1)), queue=None))  # type: ignore[arg-type]
    assert len(view.js_on_load or "") + len(str(view.value)) < 1000
