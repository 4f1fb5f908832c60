"""Trainings of tiny models from files: they learn, go on where they were stopped, and say what is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.tiny import checkpoint
from networks.loading import load
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from modules import cli
from modules.errors import CheckpointError, InvalidInput, UserError
from modules.networks.model import DiffusionModel
from modules.networks.patches.lora import read_lora
from modules.settings import Settings
from modules.training import loop
from modules.training.config import Dataset, TrainingConfig, read_config
from modules.training.dataset import bucket, cut, examples, open_picture
from modules.training.file import train_file


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with four pictures of two shapes and their captions."""
    folder = tmp_path / "robot"
    folder.mkdir()
    chance = np.random.default_rng(1)
    for number, size in enumerate([(64, 64), (64, 64), (96, 48), (128, 128)]):
        pixels = chance.integers(0, 255, (size[1], size[0], 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"robot, number {number}")
    return folder


@pytest.fixture
def model(tiny: Path) -> DiffusionModel:
    return load(tiny, packs=False)


def config(pictures: Path, **changes: object) -> TrainingConfig:
    values = {"checkpoint": "tiny", "name": "robot", "datasets": (Dataset(str(pictures)),), "steps": 6, "batch": 2,
              "rank": 2, "warmup": 2, "rate": 3e-3} | changes
    return TrainingConfig(**values)  # type: ignore[arg-type]


def losses(model: DiffusionModel, wanted: TrainingConfig, state: Path, stop_after: int = 0) -> list[float]:
    found: list[float] = []

    def told(progress: loop.Progress) -> None:
        found.append(progress.loss)
        if progress.step == stop_after:
            raise KeyboardInterrupt

    try:
        loop.train(model, wanted, examples(wanted.datasets), size=64, state=state, told=told)
    except KeyboardInterrupt:
        assert stop_after
    return found


@pytest.mark.parametrize("changes", [{}, {"layers": "all", "schedule": "cosine", "flip": True, "noise_offset": 0.1}])
def test_one_that_was_stopped_is_the_one_that_was_not(changes: dict[str, object], model: DiffusionModel, pictures: Path,
                                                      tmp_path: Path) -> None:
    wanted = config(pictures, **changes)
    whole = losses(model, wanted, tmp_path / "whole")
    first = losses(model, wanted, tmp_path / "parts", stop_after=3)
    rest = losses(model, wanted, tmp_path / "parts")
    assert len(whole) == 6
    assert first + rest == whole


def test_it_learns_what_it_sees_often(model: DiffusionModel, pictures: Path, tmp_path: Path) -> None:
    """One picture, the same noise levels: the mean loss of the last steps is below that of the first."""
    for path in pictures.glob("[123].*"):
        path.unlink()
    found = losses(model, config(pictures, steps=60, batch=4, rank=8, layers="all", rate=1e-2, dropout=0.0),
                   tmp_path / "state")
    assert np.mean(found[-15:]) < 0.9 * np.mean(found[:15])


def test_a_state_of_other_settings_or_pictures_is_refused(model: DiffusionModel, pictures: Path,
                                                          tmp_path: Path) -> None:
    state = tmp_path / "state.safetensors"
    losses(model, config(pictures), state, stop_after=2)
    for other in (config(pictures, rank=3), config(pictures, rate=1e-4)):
        with pytest.raises(InvalidInput, match="other settings or pictures"):
            losses(model, other, state)
    (pictures / "0.txt").write_text("a cat")
    with pytest.raises(InvalidInput, match="other settings or pictures"):
        losses(model, config(pictures), state)
    (pictures / "0.txt").write_text("robot, number 0")
    state.write_bytes(state.read_bytes()[:2000])
    with pytest.raises(CheckpointError):
        losses(model, config(pictures), state)


def test_a_rate_that_is_too_high_is_said_and_keeps_no_broken_state(model: DiffusionModel, pictures: Path,
                                                                   tmp_path: Path) -> None:
    state = tmp_path / "state"
    model.unet.get_submodule("conv_out").weight.data.fill_(float("nan"))  # type: ignore[union-attr, operator]
    with pytest.raises(InvalidInput, match="lower rate"):
        losses(model, config(pictures), state)
    assert not state.exists() or all(bool(one.isfinite().all()) for one in load_file(state).values())


def test_networks_that_read_a_picture_are_refused(tiny_inpainting: Path, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be trained"):
        losses(load(tiny_inpainting, packs=False), config(pictures), tmp_path / "state")


@pytest.mark.parametrize("name", ["tiny-sd21-v", "tiny-sdxl"])
def test_other_families_learn_by_their_own_levels(name: str, pictures: Path, tmp_path: Path) -> None:
    model = load(checkpoint(name), packs=False)
    found = losses(model, config(pictures, steps=3), tmp_path / "state")
    assert np.isfinite(found).all()
    wanted = config(pictures, steps=3)
    tensors = loop.train(model, wanted, examples(wanted.datasets), size=64, state=tmp_path / "state")
    assert all(model.layers.find(key.partition(".")[0]) for key in tensors)


def test_a_network_that_is_no_unet_is_refused(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be trained"):
        losses(load(checkpoint("tiny-sd3"), packs=False), config(pictures), tmp_path / "state")


# files

@pytest.fixture
def here(settings: Settings, tiny: Path) -> Settings:
    shutil.copy(tiny, settings.checkpoint_dirs[0] / "tiny.safetensors")
    return settings


def toml(path: Path, pictures: Path, text: str = "") -> Path:
    path.write_text(f'checkpoint = "tiny"\nname = "robot"\nsteps = 2\nbatch = 2\nrank = 2\nsize = 64\n{text}\n'
                    f'[[datasets]]\nfolder = "{pictures.name}"\ntrigger = "rbt"\n')
    return path


def test_the_command_line_makes_a_lora_that_cards_know(here: Settings, pictures: Path, tmp_path: Path,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    path = toml(tmp_path / "robot.toml", pictures)
    assert cli.main(["train", str(path), "--data-dir", str(here.data_dir), "--device", "cpu"]) == 0
    made = here.folders("LoRAs")[0] / "robot.safetensors"
    assert capsys.readouterr().out.strip() == str(made)
    with safe_open(str(made), "pt") as file:
        metadata = file.metadata()
    assert (metadata["ss_network_dim"], metadata["ss_sd_model_name"]) == ("2", "tiny")
    assert json.loads(metadata["ss_tag_frequency"])["robot"]["rbt"] == 4
    assert json.loads(made.with_suffix(".json").read_text())["activation text"] == "rbt"
    found = read_lora(made, "robot")
    assert not found.unknown
    assert all(name.startswith("lora_unet_") for name in found.modules)
    assert cli.main(["train", str(path), "--data-dir", str(here.data_dir)]) == 1
    assert "There is a LoRA called robot already" in capsys.readouterr().err


def test_what_was_stopped_leaves_no_lora_and_goes_on(here: Settings, pictures: Path, tmp_path: Path) -> None:
    path = toml(tmp_path / "robot.toml", pictures)
    seen: list[int] = []

    def told(stop: bool) -> Callable[[loop.Progress], None]:
        def tell(progress: loop.Progress) -> None:
            seen.append(progress.step)
            if stop:
                raise KeyboardInterrupt
        return tell

    with pytest.raises(KeyboardInterrupt):
        train_file(path, here, "cpu", told=told(True), stage=lambda text: None)
    assert not list(here.folders("LoRAs")[0].glob("*.safetensors"))
    train_file(path, here, "cpu", told=told(False), stage=lambda text: None)
    assert seen == [1, 2]
    assert not list((here.data_dir / "training").iterdir())


@pytest.mark.parametrize(("text", "sentence"), [
    ("ranks = 3", 'There is no setting "ranks"'), ('rank = "3"', "rank is '3' and should be a whole number"),
    ("rank = 0", "rank is 0 and should be between 1 and 1024"), ('layers = "some"', "there are attention, all"),
    ("rate = nan", "should be a number"), ("flip = 1", "should be a true or false"), ("x = [", "is not TOML"),
    ("datasets = 3", "names no pictures")])
def test_a_wrong_setting_is_named(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(f'checkpoint = "a"\nname = "b"\n{text}\n' + (
        "" if text.startswith("datasets") else '[[datasets]]\nfolder = "c"\n'))
    with pytest.raises(InvalidInput) as error:
        read_config(tmp_path / "x.toml")
    assert sentence in error.value.message


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "a\\b", "x" * 200, "con\n"])
def test_a_name_is_a_file_in_its_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(f'checkpoint = "a"\nname = {json.dumps(name)}\n[[datasets]]\nfolder = "c"\n')
    with pytest.raises(InvalidInput, match="cannot be a file"):
        read_config(tmp_path / "x.toml")


# pictures

def test_folders_as_kohyas_scripts_want_them(pictures: Path) -> None:
    below = pictures / "10_red robot"
    below.mkdir()
    shutil.move(pictures / "0.png", below / "0.png")
    shutil.move(pictures / "1.png", below / "1.png")
    (below / "1.caption").write_text(" standing,\n  at night ")
    found = {example.path.name: example for example in examples([Dataset(str(pictures), 2, "rbt")])}
    assert found["0.png"].caption == "rbt, red robot"
    assert found["1.png"].caption == "rbt, standing, at night"
    assert found["2.png"].caption == "rbt, robot, number 2"
    assert [found[f"{number}.png"].repeats for number in range(4)] == [20, 20, 2, 2]


def test_pictures_that_cannot_be_learned_are_named(pictures: Path, tmp_path: Path) -> None:
    def refused(sentence: str) -> None:
        with pytest.raises(UserError) as error:
            [open_picture(example.path) for example in examples([Dataset(str(pictures))])]
        assert sentence in error.value.message

    (pictures / "2.txt").write_text("  \n")
    refused("2.png has no caption")
    (pictures / "2.txt").write_text("a cat")
    (pictures / "1.png").write_bytes((pictures / "1.png").read_bytes()[:300])
    refused("1.png cannot be read as a picture")
    for path in pictures.iterdir():
        path.unlink()
    refused("There is no picture in")
    pictures.rmdir()
    refused("There is no folder")


def test_a_picture_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20))
    exif = image.getexif()
    exif[274] = 6
    image.save(tmp_path / "x.jpg", exif=exif)
    assert open_picture(tmp_path / "x.jpg").size == (20, 40)


@pytest.mark.parametrize("size", [(64, 64), (6000, 4000), (300, 301), (10, 4000), (4000, 10)])
@pytest.mark.parametrize(("side", "step"), [(512, 64), (128, 16)])
def test_a_bucket_has_the_pictures_proportions_and_area(size: tuple[int, int], side: int, step: int) -> None:
    width, height = bucket(size, side, step)
    assert width % step == height % step == 0
    assert 0.7 < width * height / side**2 < 1.35
    if max(size) / min(size) < 2:
        assert abs(np.log((width / height) / (size[0] / size[1]))) < 2 * step / side


def test_the_middle_is_cut_out() -> None:
    image = Image.new("RGB", (300, 100), (255, 0, 0))
    image.paste((0, 255, 0), (100, 0, 200, 100))
    part = cut(image, (64, 64))
    assert part.image.size == (64, 64)
    assert (part.original, part.crop) == ((300, 100), (64, 0))
    assert part.image.getpixel((32, 32)) == (0, 255, 0)


def test_the_words_of_a_batch_are_those_of_its_pictures(model: DiffusionModel, pictures: Path, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row is asked with the words of its picture, or with none."""
    wanted = config(pictures, dropout=0.5, steps=8)
    texts = {path.read_text(): model.encode_prompts([path.read_text()], loop.TextOptions())[0].tokens
             for path in pictures.glob("*.txt")}
    texts[""] = model.encode_prompts([""], loop.TextOptions())[0].tokens
    seen: list[str] = []
    answers = model.network.answers

    def watched(x: torch.Tensor, t: torch.Tensor, cond: loop.Conditioning) -> torch.Tensor:
        seen.extend(next(text for text, tokens in texts.items() if torch.equal(tokens, row)) for row in cond.tokens)
        return answers(x, t, cond)

    monkeypatch.setattr(model.network, "answers", watched)
    losses(model, wanted, tmp_path / "state")
    assert "" in seen
    assert len(set(seen)) >= 4
