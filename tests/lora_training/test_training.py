"""Trainings of tiny models from files: they learn, go on where they were stopped, and say what is wrong."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden.tiny import checkpoint
from networks.loading import load
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from modules import cli
from modules.errors import CheckpointError, InvalidInput, UserError
from modules.networks.model import DiffusionModel
from modules.networks.patches.embedding import read_embedding
from modules.networks.patches.lora import Lora, read_lora
from modules.networks.patches.patches import Patches
from modules.sampling.conditioning import Conditioning, SizeIds, TextOptions
from modules.settings import Settings
from modules.training import loop
from modules.training.config import Dataset, TrainingConfig, parse_config, read_config, to_toml
from modules.training.dataset import Example, bucket, cut, examples, open_picture
from modules.training.file import train_file
from modules.training.holes import random_hole
from modules.training.lesson import Lesson, draw_lesson
from modules.training.optimizers import OPTIONAL
from modules.training.pictures import Learned, Words, read_pictures, shares, spoken


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


def test_a_network_that_inpaints_is_shown_the_picture_with_a_random_hole(
        tiny_inpainting: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it reads beside x: the hole, and the picture encoded with its hole grey."""
    for path in pictures.glob("[123].*"):
        path.unlink()
    model = load(tiny_inpainting, packs=False)
    seen, shown, holes = list[torch.Tensor](), list[loop.Progress](), list[torch.Tensor]()
    answers = model.network.answers

    def watched(x: torch.Tensor, t: torch.Tensor, cond: Conditioning) -> torch.Tensor:
        seen.append(x)
        return answers(x, t, cond)

    def hole(size: tuple[int, int], chance: torch.Generator) -> torch.Tensor:
        holes.append(random_hole(size, chance))
        return holes[-1]

    monkeypatch.setattr(model.network, "answers", watched)
    monkeypatch.setattr(loop, "random_hole", hole)
    wanted = config(pictures, steps=3, batch=2, samples=("x",))
    loop.train(model, wanted, examples(wanted.datasets), size=64, state=tmp_path / "state", told=shown.append)
    pixels = torch.from_numpy(np.array(open_picture(pictures / "0.png"))).permute(2, 0, 1)[None] / 127.5 - 1
    rows = torch.cat(seen)
    assert len(rows) == len(holes) == 6
    for x, one in zip(rows, holes, strict=True):
        torch.testing.assert_close(x[4], one[0, 0, ::8, ::8])
        torch.testing.assert_close(x[5:], model.encode_image(pixels * (1 - one))[0])
    assert len(shown[-1].samples) == 1


def test_holes_are_of_all_sizes_and_places() -> None:
    chance = torch.Generator().manual_seed(1)
    holes = torch.cat([random_hole((96, 64), chance) for _ in range(200)])
    assert holes.shape == (200, 1, 64, 96)
    assert holes.unique().tolist() == [0, 1]
    parts = holes.mean(dim=(1, 2, 3))
    assert 20 < int((parts == 1).sum()) < 60
    assert float(parts.min()) < 0.1
    assert bool((holes.mean(dim=0) > 0.15).all())
    assert float(holes.mean(dim=0)[0, 32, 48]) > 0.4


@pytest.mark.parametrize("name", ["tiny-sd21-v", "tiny-sdxl"])
def test_other_families_learn_by_their_own_levels(name: str, pictures: Path, tmp_path: Path) -> None:
    model = load(checkpoint(name), packs=False)
    found = losses(model, config(pictures, steps=3), tmp_path / "state")
    assert np.isfinite(found).all()
    wanted = config(pictures, steps=3)
    (tmp_path / "state").unlink()
    tensors = loop.train(model, wanted, examples(wanted.datasets), size=64, state=tmp_path / "state").tensors
    assert all(model.layers.find(key.partition(".")[0]) for key in tensors)


def test_a_network_that_is_no_unet_is_refused(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be trained"):
        losses(load(checkpoint("tiny-sd3"), packs=False), config(pictures), tmp_path / "state")


def test_captions_are_said_in_other_orders_and_with_gaps() -> None:
    example = Example(Path("x.png"), "robot, red, (at night), far", trigger="rbt")
    chance = torch.Generator().manual_seed(1)
    said = {spoken(example, True, 0.0, chance) for _ in range(60)}
    assert all(text.startswith("rbt, ") and sorted(text.split(", ")) == sorted(example.caption.split(", "))
               for text in said)
    assert len(said) > 10
    counts = [len(spoken(example, False, 0.25, chance).split(", ")) - 1 for _ in range(400)]
    assert 2.8 < np.mean(counts) < 3.2
    assert spoken(example, False, 1.0, chance) == "rbt"


def test_brackets_in_captions_are_no_weights(model: DiffusionModel) -> None:
    words = Words(model, TrainingConfig())
    row = words.read("a (red) robot", SizeIds())
    weighed = model.encode_prompts(["a (red) robot"], TextOptions())[0]
    literal = model.encode_prompts([r"a \(red\) robot"], TextOptions())[0]
    assert not torch.equal(row.tokens, weighed.tokens)
    torch.testing.assert_close(row.tokens, literal.tokens)


@pytest.mark.parametrize("changes", [
    {"text_rate": 1e-3, "shuffle": True}, {"kind": "embedding", "initial": "robot", "vectors": 2},
    {"kind": "loha", "ema": 0.9, "accumulate": 2}, {"kind": "dora", "checkpointing": True, "precision": "bf16"},
    {"optimizer": "prodigy", "rate": 1.0}, {"optimizer": "lion", "rate": 1e-4}, {"precision": "fp16"}],
    ids=lambda changes: next(iter(changes.values())))
def test_every_way_of_learning_goes_on_where_it_was_stopped(changes: dict[str, object], tiny: Path, pictures: Path,
                                                            tmp_path: Path) -> None:
    """The same losses and the same file as without a stop, and something was learned."""
    if changes.get("optimizer") in OPTIONAL:
        pytest.importorskip(OPTIONAL[str(changes["optimizer"])][0])
    wanted = config(pictures, steps=4, batch=1, dropout=0.0, **changes)
    types = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    model = load(tiny, packs=False, denoiser_dtype=types[wanted.precision])
    whole, parts = list[float](), list[float]()
    made = loop.train(model, wanted, examples(wanted.datasets), size=64, state=tmp_path / "whole",
                      told=lambda progress: whole.append(progress.loss))
    for stop in (2, 0):
        def told(progress: loop.Progress, stop: int = stop) -> bool:
            parts.append(progress.loss)
            return progress.step != stop
        again = loop.train(model, wanted, examples(wanted.datasets), size=64, state=tmp_path / "parts", told=told)
        assert again.finished == (stop == 0)
    assert whole == parts
    assert made.tensors.keys() == again.tensors.keys()
    assert all(torch.equal(made.tensors[name], again.tensors[name]) for name in made.tensors)
    fresh = loop.Training(model, wanted, examples(wanted.datasets)).tensors()
    assert any(not torch.equal(made.tensors[name], fresh[name]) for name in fresh)


def test_the_text_encoder_learns_at_its_own_rate(model: DiffusionModel, pictures: Path, tmp_path: Path) -> None:
    wanted = config(pictures, steps=2, warmup=0, text_rate=1e-2, rate=0.0, decay=0.0)
    tensors = loop.train(model, wanted, examples(wanted.datasets), size=64, state=tmp_path / "state").tensors
    moved = {name.startswith("lora_te_") for name, tensor in tensors.items()
             if name.endswith("lora_up.weight") and bool(tensor.any())}
    assert moved == {True}
    save_file(tensors, tmp_path / "x.safetensors")
    assert model.put_on(Patches(loras=(Lora(read_lora(tmp_path / "x.safetensors", "x")),))) == ()


def test_a_learned_word_is_a_file_that_prompts_name(model: DiffusionModel, pictures: Path, tmp_path: Path) -> None:
    wanted = config(pictures, steps=3, kind="embedding", initial="a robot", vectors=3, name="rbt", rate=1e-2)
    tensors = loop.train(model, wanted, examples(wanted.datasets), size=64, state=tmp_path / "state").tensors
    save_file(tensors, tmp_path / "rbt.safetensors")
    embedding = read_embedding(tmp_path / "rbt.safetensors", None)
    assert embedding.count == 3
    before = model.encode_prompts(["rbt"], TextOptions())[0].tokens
    model.put_on(Patches(embeddings=(embedding,)))
    assert not torch.equal(model.encode_prompts(["rbt"], TextOptions())[0].tokens, before)
    with pytest.raises(InvalidInput, match="Name the words"):
        losses(model, replace(wanted, initial=" "), tmp_path / "other")


def test_only_the_chosen_blocks_learn(model: DiffusionModel, pictures: Path, tmp_path: Path) -> None:
    wanted = config(pictures, steps=1, blocks="mid_block, up_blocks.1")
    tensors = loop.train(model, wanted, examples(wanted.datasets), size=64, state=tmp_path / "state").tensors
    assert {name.split("_attentions")[0] for name in tensors} <= {"lora_unet_mid_block", "lora_unet_up_blocks_1"}
    with pytest.raises(InvalidInput, match="no blocks called nowhere"):
        losses(model, replace(wanted, blocks="nowhere"), tmp_path / "other")


def test_the_best_of_a_validation_is_kept(model: DiffusionModel, pictures: Path, tmp_path: Path) -> None:
    wanted = config(pictures, steps=4, validation=0.25, validate_every=1, warmup=0, rate=1e-2)
    shown: list[loop.Progress] = []
    training = loop.Training(model, replace(wanted, size=64), examples(wanted.datasets))
    training.read_pictures(lambda text: None)
    files = []
    with training.attached():
        for _ in range(4):
            training.learn()
            files.append((training.validate(), training._snapshot()))
            assert training.validate() == files[-1][0]
    _, expected = min(files, key=lambda pair: pair[0])
    assert all(torch.equal(training._best[name], expected[name]) for name in expected)
    loop.train(model, wanted, examples(wanted.datasets), size=64, state=tmp_path / "state", told=shown.append)
    assert [one.validation for one in shown] == [pair[0] for pair in files]


def test_regularisation_is_seen_as_often_as_all_else_and_has_no_trigger(pictures: Path, tmp_path: Path,
                                                                        model: DiffusionModel) -> None:
    usual = tmp_path / "usual"
    usual.mkdir()
    Image.new("RGB", (64, 64)).save(usual / "a.png")
    (usual / "a.txt").write_text("a cat")
    found = examples([Dataset(str(pictures), 3, "rbt"), Dataset(str(usual), 1, "rbt", regular=True)])
    read = read_pictures(model, config(pictures, size=64), found, 64, lambda text: None)
    weights = {one.path.name: weight for one, weight in shares(read).items()}
    assert weights == {"0.png": 3, "1.png": 3, "2.png": 3, "3.png": 3, "a.png": 12}
    assert found[-1].caption == "a cat"
    with pytest.raises(InvalidInput, match="nothing new to learn"):
        examples([Dataset(str(usual), regular=True)])


def masked(pictures: Path, name: str, size: tuple[int, int], white: tuple[int, int, int, int]) -> None:
    """Write a mask of a picture that is white in a box."""
    mask = Image.new("L", size)
    mask.paste(255, white)
    (pictures / "masks").mkdir(exist_ok=True)
    mask.save(pictures / "masks" / name)


def test_a_mask_beside_a_picture_is_read_and_mirrored(pictures: Path, model: DiffusionModel) -> None:
    masked(pictures, "2.png", (96, 48), (0, 0, 48, 48))
    found = [one for one in examples([Dataset(str(pictures))]) if one.path.name == "2.png"]
    assert len(found) == 1
    straight, mirrored = read_pictures(model, config(pictures, size=64, flip=True), found, 64, lambda text: None)
    assert straight.mask is not None
    assert mirrored.mask is not None
    assert straight.mask.shape[1:] == straight.latent.shape[1:]
    assert float(straight.mask[0, :, 0].min()) == 1
    assert float(straight.mask[0, :, -1].max()) == 0
    torch.testing.assert_close(mirrored.mask, straight.mask.flip(-1))


def test_a_cropped_picture_is_trained_as_one_that_was_cut_beforehand(pictures: Path, tmp_path: Path,
                                                                     model: DiffusionModel) -> None:
    masked(pictures, "3.png", (128, 128), (0, 0, 72, 128))
    (pictures / "crops").mkdir()
    (pictures / "crops" / "3.txt").write_text("96x48+24+40")
    cut_before = tmp_path / "before"
    cut_before.mkdir()
    with Image.open(pictures / "3.png") as image:
        image.crop((24, 40, 120, 88)).save(cut_before / "3.png")
    masked(cut_before, "3.png", (96, 48), (0, 0, 48, 48))

    def read(folder: Path) -> Learned:
        found = [one for one in examples([Dataset(str(folder), trigger="rbt")]) if one.path.name == "3.png"]
        (one,) = read_pictures(model, config(pictures, size=64), found, 64, lambda text: None)
        return one

    got, wanted = read(pictures), read(cut_before)
    torch.testing.assert_close(got.latent, wanted.latent, rtol=0, atol=0)
    torch.testing.assert_close(got.mask, wanted.mask, rtol=0, atol=0)
    assert got.sizes == wanted.sizes
    (pictures / "crops" / "3.txt").write_text("96x96+40+40")
    with pytest.raises(InvalidInput, match=r"The crop of 3\.png does not lie in the picture"):
        read(pictures)


def test_what_the_network_says_outside_of_a_mask_gets_no_gradient(pictures: Path, model: DiffusionModel,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside, the gradient is that of the mean over the masked cells, derived by hand: 2 (answer - noise) / their
    number."""
    masked(pictures, "3.png", (128, 128), (0, 0, 64, 128))
    (found,) = (one for one in examples([Dataset(str(pictures))]) if one.path.name == "3.png")
    wanted = config(pictures, size=128, batch=1, dropout=0.0, min_snr=0.0)
    training = loop.Training(model, wanted, [found])
    training.read_pictures(lambda text: None)
    answers: list[torch.Tensor] = []
    called = model.network.answers

    def listened(*args: Any) -> torch.Tensor:
        answers.append(called(*args))
        answers[-1].retain_grad()
        return answers[-1]

    monkeypatch.setattr(model.network, "answers", listened)
    lessons: list[Lesson] = []
    monkeypatch.setattr(loop, "draw_lesson", lambda *args: lessons.append(draw_lesson(*args)) or lessons[-1])
    with training.attached():
        training.learn()
    ((answer,), (lesson,)) = answers, lessons
    assert answer.grad is not None
    cells = answer.shape[-1] // 2
    assert float(answer.grad[..., cells:].abs().max()) == 0
    by_hand = 2 * (answer.detach() - lesson.noise)[..., :cells]
    torch.testing.assert_close(answer.grad[..., :cells], by_hand / by_hand.numel(), rtol=1e-4, atol=1e-9)


def test_an_optimizer_that_is_not_installed_is_named(model: DiffusionModel, pictures: Path, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prodigyopt", None)
    with pytest.raises(InvalidInput, match="Prodigy is not installed"):
        losses(model, config(pictures, optimizer="prodigy"), tmp_path / "state")


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
    assert "There is a file called robot already" in capsys.readouterr().err


def test_what_was_stopped_is_a_lora_and_goes_on(here: Settings, pictures: Path, tmp_path: Path) -> None:
    path = toml(tmp_path / "robot.toml", pictures, 'samples = ["rbt"]\nsample_every = 1')
    seen: list[int] = []

    def told(progress: loop.Progress) -> bool:
        seen.append(progress.step)
        return False

    made = train_file(path, here, "cpu", told=told, stage=lambda text: None)
    first = made.read_bytes()
    assert not read_lora(made, "robot").unknown
    train_file(path, here, "cpu", told=told, stage=lambda text: None)
    assert seen == [1, 2]
    assert made.read_bytes() != first
    folder = here.trainings_dir / "robot"
    assert sorted(one.name for one in folder.iterdir()) == ["0000001-0.png", "0000002-0.png"]
    assert made.with_suffix(".preview.png").is_file()


def test_a_crash_keeps_the_state_and_makes_no_lora(here: Settings, pictures: Path, tmp_path: Path) -> None:
    path = toml(tmp_path / "robot.toml", pictures)

    def told(progress: loop.Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_file(path, here, "cpu", told=told, stage=lambda text: None)
    assert not list(here.folders("LoRAs")[0].glob("*.safetensors"))
    assert (here.trainings_dir / "robot" / "state.safetensors").is_file()


def test_an_embedding_lies_among_the_embeddings(here: Settings, pictures: Path, tmp_path: Path) -> None:
    path = toml(tmp_path / "robot.toml", pictures, 'kind = "embedding"\ninitial = "robot"')
    made = train_file(path, here, "cpu", told=lambda progress: None, stage=lambda text: None)
    assert made == here.embeddings_dir / "robot.safetensors"
    assert read_embedding(made, None).count == 4


def test_settings_that_are_written_are_read_again(tmp_path: Path) -> None:
    wanted = config(tmp_path, kind="dora", flip=True, rate=2.5e-5, samples=('a "quoted" robot', "x\\y\x7f机"),
                    datasets=(Dataset(str(tmp_path / "a")), Dataset(str(tmp_path / "b"), 3, "rbt", True)))
    assert parse_config(to_toml(wanted), tmp_path / "x.toml") == wanted


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
    texts = {path.read_text(): model.encode_prompts([path.read_text()], TextOptions())[0].tokens
             for path in pictures.glob("*.txt")}
    texts[""] = model.encode_prompts([""], TextOptions())[0].tokens
    seen: list[str] = []
    answers = model.network.answers

    def watched(x: torch.Tensor, t: torch.Tensor, cond: Conditioning) -> torch.Tensor:
        seen.extend(next(text for text, tokens in texts.items() if torch.equal(tokens, row)) for row in cond.tokens)
        return answers(x, t, cond)

    monkeypatch.setattr(model.network, "answers", watched)
    losses(model, wanted, tmp_path / "state")
    assert "" in seen
    assert len(set(seen)) >= 4
