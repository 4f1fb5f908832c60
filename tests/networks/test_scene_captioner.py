"""The included captioner against the network that was trained, and against the prompts that the training says."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
import torch
from describers import write_blip
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from modules.engine.describing import Describers
from modules.errors import CheckpointError
from modules.networks.scene_captioner import QUESTIONS, load_scene_captioner, sentence
from modules.settings import PROJECT, Settings

sys.path.append(str(PROJECT / "training"))

import captions
import judge
import scenes
from evaluate import Checkpoint

INCLUDED = PROJECT / "models/captioners/emoji-mini.safetensors"
PHRASES = judge.phrases()


def nothing() -> None: ...


def as_image(picture: Tensor) -> Image.Image:
    """(3, H, W) in -1..1."""
    return Image.fromarray(((picture.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())


def test_it_says_what_a_prompt_would_say() -> None:
    rng = random.Random(8)
    for _ in range(300):
        scene = scenes.sample_scene(rng, None, pairs=0.3)
        answers = dict(zip(QUESTIONS, judge.truth(scene), strict=True))
        assert sentence(answers, PHRASES) == captions.plain_prompt(scene)


@torch.no_grad()
def test_its_answers_are_those_of_the_network_that_was_trained() -> None:
    trained, caption = judge.load(), load_scene_captioner(INCLUDED)
    chance = torch.Generator().manual_seed(2)
    for side in (128, 256, 384):
        smooth = torch.randn(1, 3, 5, 5, generator=chance)
        picture = as_image(torch.nn.functional.interpolate(smooth, (side, side), mode="bilinear")[0])
        pixels = judge.to_tensor([picture])
        answers = dict(zip(QUESTIONS, judge.verdicts(trained, pixels)[0].tolist(), strict=True))
        assert caption(picture, nothing) == sentence(answers, PHRASES)


def test_it_names_what_the_included_checkpoint_draws() -> None:
    model = Checkpoint(PROJECT / "models/Stable-diffusion/emoji-mini.safetensors",
                       PROJECT / "modules/networks/text/tokenizer/merges.txt")
    caption = load_scene_captioner(INCLUDED)
    prompts = ["a red apple on a blue background", "a yellow star in the night sky", "a blue fish on a grey background"]
    said = [caption(as_image(picture), nothing) for picture in model.draw(prompts, seed=3)]
    for prompt, words in zip(prompts, said, strict=True):
        assert prompt.split()[2] in words, said


def test_a_captioner_of_any_picture_is_asked_first(settings: Settings) -> None:
    folder = settings.models_dir / "captioners"
    folder.mkdir(parents=True)
    (folder / "included.safetensors").write_bytes(INCLUDED.read_bytes())
    picture = Image.radial_gradient("L").convert("RGB")
    describers = Describers(settings)
    assert describers.named("clip") == "included"
    assert describers.describe(picture, "clip", 0.5, nothing) == load_scene_captioner(INCLUDED)(picture, nothing)
    write_blip(folder / "tiny")
    assert describers.named("clip") == "tiny"
    assert describers.named("Included") == "included"


@pytest.mark.parametrize("damage", ["no phrases", "odd phrases", "other tensors", "other shapes", "cut", "empty"])
def test_another_file_is_refused_with_a_sentence(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensors = load_file(INCLUDED)
    with safe_open(str(INCLUDED), "pt") as file:
        metadata = file.metadata()
    if damage == "no phrases":
        metadata = {}
    elif damage == "odd phrases":
        metadata = metadata | {"phrases": '{"object": 7}'}
    elif damage == "other tensors":
        tensors = {"weight": torch.zeros(3)}
    elif damage == "other shapes":
        tensors["heads.object.weight"] = tensors["heads.object.weight"][:5].contiguous()
    save_file(tensors, path, metadata)
    if damage in ("cut", "empty"):
        path.write_bytes(path.read_bytes()[: 1000 if damage == "cut" else 0])
    with pytest.raises(CheckpointError):
        load_scene_captioner(path)
