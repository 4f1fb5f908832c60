"""python -m benchmarks.new_thing: the included checkpoint learns a robot from 12 pictures of our own drawing.

It is asked for robots in colours and on backgrounds that it was not shown, and for the things that it knew before. The
included captioner judges: by its words for the old things, and for the robot, which it has no word for, by what it sees
before it says it: whether a picture is nearer to drawn robots or to pictures of the old things. Both shares are told as
they were before and after, and the minutes that the learning took.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

import numpy as np
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

MODELS = Path(__file__).parents[1] / "models"
CAPTIONER = MODELS / "captioners" / "emoji-mini.safetensors"
CHECKPOINT = MODELS / "Stable-diffusion" / "emoji-mini.safetensors"
PICTURES, SIDE = 12, 256
SEEN, UNSEEN = ("blue", "white", "green", "orange"), ("purple", "pink", "yellow", "red")
"""Colours of robots and of backgrounds that are learned, and those that are asked for. A taught robot is grey or of one
of the first."""
GREY = ("#8a93a3", "#a9b2c1", "#bcc5d3")
"""Limbs, body and head of a grey robot."""
PLACES = ("on the beach", "on the grass", "in the snow", "in the city")
TARGETS = {"robots": 0.85, "old things": 0.9}


def robot(background: str, chance: random.Random, colour: str = "grey") -> Image.Image:
    """A robot with an antenna on a plain background, drawn four times as large."""
    image = Image.new("RGB", (4 * SIDE, 4 * SIDE), ImageColor.getrgb(background))
    draw, unit = ImageDraw.Draw(image), chance.uniform(80, 105)
    x, y = 2 * SIDE + chance.uniform(-60, 60), 2 * SIDE + chance.uniform(-50, 50)
    limbs, body, head = GREY if colour == "grey" else (_mixed(colour, other) for other in ("black", colour, "white"))

    def box(left: float, top: float, right: float, bottom: float, fill: str, radius: float = 0.3) -> None:
        draw.rounded_rectangle((x + left * unit, y + top * unit, x + right * unit, y + bottom * unit), radius * unit,
                               fill, "#30343c", 12)

    draw.line((x, y - 4 * unit, x, y - 3 * unit), "#30343c", 20)
    draw.ellipse((x - 0.35 * unit, y - 4.5 * unit, x + 0.35 * unit, y - 3.8 * unit), "#ff4040", "#30343c", 10)
    box(-3, -0.1, -2.2, 2, limbs)
    box(2.2, -0.1, 3, 2, limbs)
    box(-1.5, 2.6, -0.4, 4, limbs)
    box(0.4, 2.6, 1.5, 4, limbs)
    box(-2, -0.2, 2, 3, body)
    box(-1.8, -3.1, 1.8, 0, head)
    for side in (-0.9, 0.9):
        draw.ellipse((x + (side - 0.5) * unit, y - 2.2 * unit, x + (side + 0.5) * unit, y - 1.2 * unit), "#20e0ff",
                     "#30343c", 10)
    box(-0.9, -0.8, 0.9, -0.4, "#30343c", 0.1)
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _mixed(colour: str, other: str) -> str:
    """Three quarters of one colour and a quarter of another."""
    one, two = ImageColor.getrgb(colour), ImageColor.getrgb(other)
    return "#" + "".join(f"{(3 * a + b) // 4:02x}" for a, b in zip(one[:3], two[:3], strict=True))


def judge() -> SceneNetwork:
    """The network of the included captioner."""
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


def robots(network: SceneNetwork, images: list[Image.Image], drawn: list[Image.Image],
           others: list[Image.Image]) -> int:
    """How many pictures look more like the drawn robots than like the others."""
    features = seen(network, images)
    to_robots, to_others = (F.normalize(seen(network, some).mean(dim=0), dim=0) for some in (drawn, others))
    return int((features @ to_robots > features @ to_others).sum())


def pictures(model: DiffusionModel, prompts: list[str], size: int) -> list[Image.Image]:
    """A picture for each prompt."""
    return draw_samples(model, prompts, size=size, scale=3.0, clip_skip=1, seed=7)


def taught(folder: Path, chance: random.Random) -> None:
    """Write the 12 pictures with their captions."""
    for number in range(PICTURES):
        background = SEEN[number % len(SEEN)]
        others = ["grey", *(colour for colour in SEEN if colour != background)]
        colour = others[number // len(SEEN) % len(others)]
        robot(background, chance, colour).save(folder / f"{number:02}.png")
        (folder / f"{number:02}.txt").write_text(f"a {colour} robot on a {background} background")


def asked(count: int) -> list[str]:
    """Prompts for robots in colours and on backgrounds that were not taught."""
    every = [f"a {colour} robot {where}" for shift in range(1, 1 + len(UNSEEN))
             for at, colour in enumerate(UNSEEN) for where in (
                 f"on a {UNSEEN[(at + shift) % len(UNSEEN)]} background", PLACES[(at + shift) % len(PLACES)])
             if f" {colour} background" not in where]
    return [every[number % len(every)] for number in range(count)]


def old_things(count: int) -> list[tuple[str, str]]:
    """Things that the checkpoint knows, each with a prompt for it."""
    with read_tensors(CHECKPOINT) as file:
        things = json.loads(file.metadata["words"])["objects"]
    return [(things[at * len(things) // count if count < len(things) else at % len(things)],
             SEEN[at % len(SEEN)]) for at in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.new_thing", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=60, help="of robots, and as many of old things")
    parser.add_argument("--steps", type=int, default=300, help="of learning")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sheet", type=Path, help="a picture of the robots and the old things that were drawn")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    chance, checkpoint, network = random.Random(1), CheckpointFile(CHECKPOINT, CHECKPOINT.name), judge()
    caption, size = load_scene_captioner(CAPTIONER), size_of(checkpoint)
    model = load_model(checkpoint, device=torch.device("cpu"), dtype=torch.float32, packs=False)
    things, new = old_things(chosen.prompts), asked(chosen.prompts)
    old = [f"a {thing} on a {background} background" for thing, background in things]

    def right(images: list[Image.Image]) -> int:
        return sum(thing in caption(image, lambda: None)
                   for (thing, _), image in zip(things, images, strict=True))

    before, unlearned = pictures(model, old, size), pictures(model, new, size)
    with tempfile.TemporaryDirectory() as folder:
        taught(Path(folder), chance)
        began = time.monotonic()
        config = TrainingConfig("emoji-mini", "robot", (Dataset(folder),), steps=chosen.steps, rank=16, alpha=16.0,
                                layers="all", rate=2e-3, schedule="cosine", size=size)
        training = Training(model, config, examples(config.datasets))
        training.read_pictures(lambda text: None)
        with training.attached():
            for _ in range(chosen.steps):
                training.learn()
            minutes = (time.monotonic() - began) / 60
            after, learned = pictures(model, old, size), pictures(model, new, size)
    drawn = [robot(background, chance, colour) for colour in UNSEEN for background in UNSEEN if colour != background]
    found = {"robots": [robots(network, some, drawn, before + unlearned) for some in (unlearned, learned)],
             "old things": [right(before), right(after)]}
    for what, (first, then) in found.items():
        print(f"{what}: {then} of {chosen.prompts} ({then / chosen.prompts:.2f}, wanted {TARGETS[what]}), before "
              f"{first}", flush=True)
    print(f"{chosen.steps} steps of learning took {minutes:.1f} minutes")
    if chosen.sheet:
        sheet = Image.new("RGB", (size * chosen.prompts, 2 * size))
        for row, images in enumerate((learned, after)):
            for at, image in enumerate(images):
                sheet.paste(image, (at * size, row * size))
        sheet.save(chosen.sheet)


if __name__ == "__main__":
    main()
