"""The included checkpoint learns a thing that it does not know from 12 pictures of our own drawing, and still knows the
others. Who judges is the included captioner: its words for old things, and what it sees in pictures for the new one."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageColor, ImageDraw
from torch import Tensor

from modules.networks.loader import load_model
from modules.networks.model import DiffusionModel
from modules.networks.scene_captioner import QUESTIONS, SceneNetwork, _network, load_scene_captioner
from modules.training.config import Dataset, TrainingConfig
from modules.training.dataset import examples
from modules.training.file import size_of
from modules.training.loop import Training
from modules.training.samples import draw_samples
from modules.weights.catalog import CheckpointFile
from modules.weights.tensors import read_tensors

MODELS = Path(__file__).parents[2] / "models"
CAPTIONER = MODELS / "captioners" / "emoji-mini.safetensors"
CHECKPOINT = MODELS / "Stable-diffusion" / "emoji-mini.safetensors"
SEEN, UNSEEN = ("blue", "white", "green", "orange"), ("purple", "pink", "yellow", "red")
"""Colours of backgrounds that are learned, and those that are asked for."""
SIDE = 256
STEPS, PICTURES = 200, 8


def robot(colour: str, chance: random.Random) -> Image.Image:
    """A grey robot with an antenna on a plain background, drawn four times as large."""
    image = Image.new("RGB", (4 * SIDE, 4 * SIDE), ImageColor.getrgb(colour))
    draw, unit = ImageDraw.Draw(image), chance.uniform(80, 105)
    x, y = 2 * SIDE + chance.uniform(-60, 60), 2 * SIDE + chance.uniform(-50, 50)

    def box(left: float, top: float, right: float, bottom: float, fill: str, radius: float = 0.3) -> None:
        draw.rounded_rectangle((x + left * unit, y + top * unit, x + right * unit, y + bottom * unit), radius * unit,
                               fill, "#30343c", 12)

    draw.line((x, y - 4 * unit, x, y - 3 * unit), "#30343c", 20)
    draw.ellipse((x - 0.35 * unit, y - 4.5 * unit, x + 0.35 * unit, y - 3.8 * unit), "#ff4040", "#30343c", 10)
    box(-3, -0.1, -2.2, 2, "#8a93a3")
    box(2.2, -0.1, 3, 2, "#8a93a3")
    box(-1.5, 2.6, -0.4, 4, "#8a93a3")
    box(0.4, 2.6, 1.5, 4, "#8a93a3")
    box(-2, -0.2, 2, 3, "#a9b2c1")
    box(-1.8, -3.1, 1.8, 0, "#bcc5d3")
    for side in (-0.9, 0.9):
        draw.ellipse((x + (side - 0.5) * unit, y - 2.2 * unit, x + (side + 0.5) * unit, y - 1.2 * unit), "#20e0ff",
                     "#30343c", 10)
    box(-0.9, -0.8, 0.9, -0.4, "#30343c", 0.1)
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


@pytest.fixture(scope="module")
def network() -> SceneNetwork:
    with read_tensors(CAPTIONER) as file:
        phrases = json.loads(file.metadata["phrases"])
        network = _network(file, {name: len(phrases[name]) for name in QUESTIONS})
        network.load_state_dict({key: file.tensor(key, torch.float32) for key in file.shapes})
    return network.eval()


@torch.no_grad()
def seen(network: SceneNetwork, images: list[Image.Image]) -> Tensor:
    """What the captioner sees in pictures before it says it, (n, features) of length 1."""
    pixels = torch.stack([torch.from_numpy(np.asarray(image.convert("RGB"), np.float32)) for image in images])
    small = F.interpolate(pixels.permute(0, 3, 1, 2) / 127.5 - 1, (network.side, network.side), mode="area")
    return F.normalize(network.body(small), dim=1)


def test_twelve_pictures_teach_a_new_thing_and_the_old_ones_stay(network: SceneNetwork, tmp_path: Path) -> None:
    chance = random.Random(1)
    for number in range(12):
        colour = SEEN[number % len(SEEN)]
        robot(colour, chance).save(tmp_path / f"{number:02}.png")
        (tmp_path / f"{number:02}.txt").write_text(f"a robot on a {colour} background")
    with read_tensors(CHECKPOINT) as file:
        things = json.loads(file.metadata["words"])["objects"]
    old = [f"a {things[at * len(things) // PICTURES]} on a blue background" for at in range(PICTURES)]
    new = [f"a robot on a {colour} background" for colour in UNSEEN] * (PICTURES // len(UNSEEN))
    checkpoint = CheckpointFile(CHECKPOINT, CHECKPOINT.name)
    model = load_model(checkpoint, device=torch.device("cpu"), dtype=torch.float32, packs=False)
    size = size_of(checkpoint)
    before, unlearned = drawn(model, old, size), drawn(model, new, size)
    config = TrainingConfig("emoji-mini", "robot", (Dataset(str(tmp_path)),), steps=STEPS, rank=16, alpha=16.0,
                            layers="all", rate=2e-3, schedule="cosine", size=size)
    training = Training(model, config, examples(config.datasets))
    training.read_pictures(lambda text: None)
    with training.attached():
        for _ in range(STEPS):
            training.learn()
        after, learned = drawn(model, old, size), drawn(model, new, size)
    of_robots = seen(network, [robot(colour, chance) for colour in UNSEEN * 3]).mean(dim=0)
    of_others = seen(network, before + unlearned).mean(dim=0)

    def robots(images: list[Image.Image]) -> int:
        features = seen(network, images)
        return int((features @ F.normalize(of_robots, dim=0) > features @ F.normalize(of_others, dim=0)).sum())

    caption = load_scene_captioner(CAPTIONER)

    def right(images: list[Image.Image]) -> int:
        return sum(prompt.split()[1] in caption(image, lambda: None).split()
                   for prompt, image in zip(old, images, strict=True))

    assert robots(learned) >= 0.75 * PICTURES
    assert robots(unlearned) <= 0.25 * PICTURES
    assert right(after) >= right(before) - 2 > 0


def drawn(model: DiffusionModel, prompts: list[str], size: int) -> list[Image.Image]:
    return draw_samples(model, prompts, size=size, scale=3.0, clip_skip=1, seed=7)
