"""The included checkpoint learns a thing that it does not know from 12 pictures of our own drawing, and still knows the
others. Who judges is the included captioner: its words for old things, and what it sees in pictures for the new one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks.new_thing import (
    CAPTIONER,
    CHECKPOINT,
    PICTURES,
    SEEN,
    UNSEEN,
    judge,
    old_things,
    pictures,
    robot,
    robots,
)
from modules.networks.loader import load_model
from modules.networks.scene_captioner import SceneNetwork, load_scene_captioner
from modules.training.config import Dataset, TrainingConfig
from modules.training.dataset import examples
from modules.training.file import size_of
from modules.training.loop import Training
from modules.weights.catalog import CheckpointFile

STEPS, ASKED = 200, 8


@pytest.fixture(scope="module")
def network() -> SceneNetwork:
    return judge()


def test_twelve_pictures_teach_a_new_thing_and_the_old_ones_stay(network: SceneNetwork, tmp_path: Path) -> None:
    chance = random.Random(1)
    for number in range(PICTURES):
        colour = SEEN[number % len(SEEN)]
        robot(colour, chance).save(tmp_path / f"{number:02}.png")
        (tmp_path / f"{number:02}.txt").write_text(f"a robot on a {colour} background")
    things = [thing for thing, _ in old_things(ASKED)]
    old = [f"a {thing} on a blue background" for thing in things]
    new = [f"a robot on a {colour} background" for colour in UNSEEN] * (ASKED // len(UNSEEN))
    checkpoint = CheckpointFile(CHECKPOINT, CHECKPOINT.name)
    model = load_model(checkpoint, device=torch.device("cpu"), dtype=torch.float32, packs=False)
    size = size_of(checkpoint)
    before, unlearned = pictures(model, old, size), pictures(model, new, size)
    config = TrainingConfig("emoji-mini", "robot", (Dataset(str(tmp_path)),), steps=STEPS, rank=16, alpha=16.0,
                            layers="all", rate=2e-3, schedule="cosine", size=size)
    training = Training(model, config, examples(config.datasets))
    training.read_pictures(lambda text: None)
    with training.attached():
        for _ in range(STEPS):
            training.learn()
        after, learned = pictures(model, old, size), pictures(model, new, size)
    drawn = [robot(colour, chance) for colour in UNSEEN * 3]
    caption = load_scene_captioner(CAPTIONER)

    def right(images: list[Image.Image]) -> int:
        return sum(thing in caption(image, lambda: None) for thing, image in zip(things, images, strict=True))

    assert robots(network, learned, drawn, before + unlearned) >= 0.75 * ASKED
    assert robots(network, unlearned, drawn, before + unlearned) <= 0.25 * ASKED
    assert right(after) >= right(before) - 2 > 0
