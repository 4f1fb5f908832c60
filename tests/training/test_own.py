"""Another world, learned from nothing in about a minute: a folder with eight drawn things and their captions."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "training"))

import own  # noqa: E402
from evaluate import Checkpoint  # noqa: E402
from loop import Worker  # noqa: E402
from model import Sizes  # noqa: E402

MERGES = ROOT / "modules/networks/text/tokenizer/merges.txt"
START = ROOT / "models/Stable-diffusion/emoji-mini.safetensors"
SIDE, SAMPLES = 64, 9_600
SMALL = Sizes(unet_channels=(32, 64), unet_attention=(False, True), text_width=32, text_layers=1)
THINGS = {"ball": "red", "box": "blue", "kite": "green", "ring": "purple", "bar": "orange", "roof": "white",
          "cross": "yellow", "plate": "pink"}


def drawn(name: str, colour: str) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), (40, 44, 52))
    pen = ImageDraw.Draw(image)
    if name == "ball":
        pen.ellipse((12, 12, 52, 52), fill=colour)
    elif name == "box":
        pen.rectangle((12, 12, 52, 52), fill=colour)
    elif name == "kite":
        pen.polygon([(32, 6), (56, 32), (32, 58), (8, 32)], fill=colour)
    elif name == "ring":
        pen.ellipse((8, 8, 56, 56), outline=colour, width=10)
    elif name == "bar":
        pen.rectangle((4, 24, 60, 40), fill=colour)
    elif name == "roof":
        pen.polygon([(32, 10), (60, 54), (4, 54)], fill=colour)
    elif name == "cross":
        pen.rectangle((24, 6, 40, 58), fill=colour)
        pen.rectangle((6, 24, 58, 40), fill=colour)
    else:
        pen.ellipse((2, 20, 62, 44), fill=colour)
    return image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, colour in THINGS.items():
        drawn(name, colour).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(f"a {colour} {name}\n", encoding="utf-8")
    return tmp_path


def test_a_folder_of_pictures_with_captions_is_learned(folder: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    out = folder / "mine.safetensors"
    own.learn(Worker(0, 1, torch.device("cpu")), folder, folder, START, MERGES, SMALL, SIDE,
              samples=SAMPLES, rate=3e-3)
    own.write(folder, folder, START, MERGES, SMALL, SIDE, out)
    torch.set_num_threads(threads)

    model = Checkpoint(out, MERGES)
    made = model.draw([f"a {colour} {name}" for name, colour in THINGS.items()], 1)
    wanted = own.to_tensor([np.asarray(drawn(name, colour)) for name, colour in THINGS.items()])
    distance = (made[:, None] - wanted[None]).square().mean(dim=(2, 3, 4))  # of each picture made from each drawn one
    found = distance.argmin(1) == torch.arange(len(THINGS))
    assert found.sum() >= 7


def test_a_folder_without_captions_is_refused(tmp_path: Path) -> None:
    drawn("ball", "red").save(tmp_path / "ball.png")
    with pytest.raises(SystemExit, match="text file of the same name"):
        own.pairs(tmp_path)
