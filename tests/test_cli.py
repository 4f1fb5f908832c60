"""The command line: pictures, exit statuses and sentences. The model is the one in closed form."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeModel, fake_engine, write_checkpoint
from make_tiny import make_tiny
from PIL import Image
from safetensors.numpy import load_file, save_file

from modules import cli
from modules.settings import Settings

Run = Callable[..., int]


@pytest.fixture
def models() -> list[FakeModel]:
    """The models that were loaded."""
    return []


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: list[FakeModel]) -> Run:
    """The command line in a folder with two checkpoints; each argument may be anything that has a text."""
    monkeypatch.delenv("COMMANDLINE_ARGS", raising=False)
    for name in ("first", "second"):
        write_checkpoint(tmp_path / "models" / "Stable-diffusion", name)

    def make(name: str) -> FakeModel:
        models.append(FakeModel(name=name))
        return models[-1]

    monkeypatch.setattr(cli, "Engine", lambda settings: fake_engine(settings, make))
    return lambda *argv: cli.main([*(str(word) for word in argv), "--data-dir", str(tmp_path)])


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.effect_noise((64, 48), 60).convert("RGB").save(path)
    return path


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    path = tmp_path / "mask.png"
    image = Image.new("L", (64, 48))
    image.paste(255, (24, 16, 40, 32))
    image.save(path)
    return path


def test_txt2img_writes_the_picture_and_its_parameters(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "new" / "out.png"
    assert run("txt2img", "--prompt", "a dog", "--seed", 7, "--steps", 3, "--width", 64, "--height", 48,
               "--out", out) == 0
    assert capsys.readouterr().out.split() == [str(out)]
    with Image.open(out) as image:
        assert image.size == (64, 48)
        assert image.info["parameters"].startswith("a dog\nSteps: 3, Sampler: DDIM,")
        assert "Seed: 7, Size: 64x48" in image.info["parameters"]


def test_the_path_of_a_recording_is_printed_once_it_is_there(run: Run, tmp_path: Path,
                                                            capsys: pytest.CaptureFixture) -> None:
    small = ("txt2img", "--steps", 2, "--width", 64, "--height", 64, "--record-steps", "--out")
    (tmp_path / "b.steps.safetensors").mkdir()
    for name in ("a", "b"):
        assert run(*small, tmp_path / f"{name}.png") == 0
    told = capsys.readouterr()
    assert told.out.split() == [str(tmp_path / name) for name in ("a.png", "a.steps.safetensors", "b.png")]
    assert "no recording" in told.err


def test_the_same_seed_gives_the_same_picture(run: Run, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        assert run("txt2img", "--seed", seed, "--steps", 2, "--width", 64, "--height", 64, "--out", path) == 0
    first, again, other = (path.read_bytes() for path in paths)
    assert first == again != other


def test_several_pictures_get_numbers(run: Run, tmp_path: Path) -> None:
    run("txt2img", "--count", 2, "--batch-size", 2, "--steps", 1, "--width", 64, "--height", 64,
        "--out", tmp_path / "o.png")
    assert sorted(path.name for path in tmp_path.glob("o*.png")) == ["o-1.png", "o-2.png", "o-3.png", "o.png"]


def test_without_a_name_the_picture_goes_to_the_outputs(run: Run, tmp_path: Path, photo: Path) -> None:
    assert run("img2img", "--image", photo, "--steps", 2, "--seed", 5) == 0
    (saved,) = (tmp_path / "outputs" / "img2img-images").rglob("*.png")
    assert saved.name == "00000-5.png"
    with Image.open(saved) as image:
        assert image.size == (64, 48)  # the picture's own size


def test_inpaint_leaves_the_rest_as_it_was(run: Run, tmp_path: Path, photo: Path, mask: Path) -> None:
    out = tmp_path / "out.png"
    assert run("inpaint", "--image", photo, "--mask", mask, "--prompt", "x", "--seed", 1, "--steps", 8,
               "--strength", 0.75, "--mask-blur", 0, "--content", "fill", "--out", out) == 0
    with Image.open(out) as after, Image.open(photo) as before:
        assert after.info["parameters"].endswith(
            "Masked content: fill, DDIM loop: classic, Mask noise: initial, Version: Inpaint WebUI 0.1.0")
        changed = [(x, y) for x in range(64) for y in range(48)
                   if after.getpixel((x, y)) != before.getpixel((x, y))]
    assert changed
    assert all(24 <= x < 40 and 16 <= y < 32 for x, y in changed)


def test_remove_needs_no_checkpoint_and_leaves_the_rest(run: Run, tmp_path: Path, photo: Path, mask: Path,
                                                        models: list[FakeModel]) -> None:
    out = tmp_path / "out.png"
    assert run("remove", "--image", photo, "--mask", mask, "--seed", 3, "--out", out) == 0
    before, after = (np.asarray(Image.open(path)) for path in (photo, out))
    painted = np.asarray(Image.open(mask)) > 0
    assert (before[~painted] == after[~painted]).all()
    assert (before[painted] != after[painted]).any(axis=1).mean() > 0.9
    assert Image.open(out).info["parameters"].startswith("Remove with: PatchMatch, Seed: 3, Size: 64x48")
    assert not models


def test_invert_paints_the_rest(run: Run, tmp_path: Path, photo: Path, mask: Path) -> None:
    out = tmp_path / "out.png"
    assert run("inpaint", "--image", photo, "--mask", mask, "--invert", "--mask-blur", 0, "--steps", 4,
               "--out", out) == 0
    with Image.open(out) as after, Image.open(photo) as before:
        box = (24, 16, 40, 32)
        assert after.crop(box).tobytes() == before.crop(box).tobytes()
        assert after.tobytes() != before.tobytes()


def test_options_and_checkpoint_are_obeyed(run: Run, tmp_path: Path, models: list[FakeModel]) -> None:
    out = tmp_path / "out.png"
    assert run("txt2img", "--checkpoint", "second", "--clip-skip", 2, "--set", "ddim_loop=webui-1.10", "--steps", 2,
               "--width", 64, "--height", 64, "--out", out) == 0
    assert [model.name for model in models] == ["second"]
    with Image.open(out) as image:
        assert "Model: second, Clip skip: 2, RNG: CPU, DDIM loop: webui-1.10" in image.info["parameters"]


def test_models_lists_the_checkpoints_without_loading_any(run: Run, capsys: pytest.CaptureFixture,
                                                         models: list[FakeModel]) -> None:
    assert run("models") == 0
    assert capsys.readouterr().out.split() == ["first.safetensors", "second.safetensors"]
    assert models == []


def test_merge_writes_a_checkpoint(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "models" / "Stable-diffusion"
    weights = {name: np.full((2, 2), value, np.float32) for name, value in (("a", 4), ("b", 8), ("c", 6))}
    for name, values in weights.items():
        save_file({"model.w": values}, folder / f"part-{name}.safetensors")
    assert run("merge", "part-a", "part-b", "part-c", "--method", "Add difference", "--multiplier", 0.5, "--name",
               "new", "--float32") == 0
    assert capsys.readouterr().out.strip() == str(folder / "new.safetensors")
    made = load_file(folder / "new.safetensors")["model.w"]
    assert made.dtype == np.float32
    assert (made == 5).all()
    assert run("merge", "part-a") == 1
    assert "needs a second checkpoint" in capsys.readouterr().err


def test_a_lora_is_extracted_and_baked_in(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "models" / "Stable-diffusion"
    before = load_file(make_tiny("tiny-sd15", folder / "plain.safetensors"))
    key = "model.diffusion_model.middle_block.0.in_layers.2.weight"
    after = {**before, key: (before[key] * np.float16(1.25)).astype(np.float16)}
    save_file(after, folder / "tuned.safetensors")
    assert run("extract", "tuned", "plain", "--rank", 320, "--name", "mine") == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "models" / "Lora" / "mine.safetensors")
    assert run("merge", "plain", "--method", "No interpolation", "--lora", "<lora:mine:1>", "--name", "both") == 0
    assert capsys.readouterr().err == ""
    made = load_file(folder / "both.safetensors")
    assert np.abs(made[key].astype(float) - after[key]).max() < 2e-3 * np.abs(after[key].astype(float)).max()
    assert all((made[name] == before[name]).all() for name in before if name != key)
    assert run("merge", "plain", "--method", "No interpolation", "--lora", "<lora:nobody:1>") == 1
    assert "Lora not found: nobody." in capsys.readouterr().err
    assert run("merge", "plain", "--method", "No interpolation", "--lora", "mine") == 1
    assert "written like <lora:name:0.8>" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [
    [], ["paint"], ["txt2img", "--no-such-flag"], ["txt2img", "--steps", "many"], ["inpaint", "--image", "x.png"],
    ["txt2img", "--set", "nonsense"], ["txt2img", "--set", "no_such_option=1"], ["txt2img", "--device", "abacus"]])
def test_wrong_flags_exit_with_2(run: Run, argv: list[str], capsys: pytest.CaptureFixture) -> None:
    assert run(*argv) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("argv", [
    ["txt2img", "--steps", "0"], ["txt2img", "--width", "10000000"], ["txt2img", "--sampler", "Dice"],
    ["txt2img", "--checkpoint", "nowhere"], ["img2img", "--image", "missing.png"], ["img2img", "--image", "{text}"],
    ["txt2img", "--set", "eta_ddim=lots"]])
def test_what_cannot_be_done_exits_with_1_and_a_sentence(run: Run, argv: list[str], tmp_path: Path,
                                                         capsys: pytest.CaptureFixture) -> None:
    text = tmp_path / "picture.png"
    text.write_text("no picture")
    assert run(*(word.format(text=text) for word in argv)) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_ctrl_c_keeps_the_partial_picture(run: Run, tmp_path: Path, models: list[FakeModel],
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    predict = FakeModel.predict

    def predict_and_press(self: FakeModel, *args: object) -> object:
        if len(self.calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return predict(self, *args)

    monkeypatch.setattr(FakeModel, "predict", predict_and_press)
    out = tmp_path / "out.png"
    handler = signal.getsignal(signal.SIGINT)
    assert run("txt2img", "--steps", 20, "--width", 64, "--height", 64, "--out", out) == 130
    assert len(models[0].calls) < 5
    with Image.open(out) as image:
        assert image.size == (64, 64)
    assert signal.getsignal(signal.SIGINT) is handler


def test_flags_of_the_server_are_understood_too(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_checkpoint(tmp_path / "elsewhere", "third")
    assert run("models", "--ckpt-dir", tmp_path / "elsewhere") == 0
    assert "third.safetensors" in capsys.readouterr().out


def test_settings_reach_the_engine(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Settings] = []
    monkeypatch.setattr(cli, "list_models", lambda engine: seen.append(engine.settings) or 0)
    assert run("models", "--device", "cpu") == 0
    assert seen[0].device == "cpu"
