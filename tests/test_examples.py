"""The examples run, and the bare loop makes the picture that the program makes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from examples.bare_loop import inpaint
from modules.engine.engine import resolve
from modules.generation import recipes
from modules.networks.loader import load_model
from modules.request import Inpaint
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.settings import Settings
from modules.weights.catalog import Catalog

ROOT = Path(__file__).parent.parent
PROMPT = "a red apple on a blue background"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A photograph and a mask of whole cells, 128 x 128."""
    photo, mask = tmp_path / "photo.png", tmp_path / "mask.png"
    Image.open(ROOT / "tests/data/astronaut.jpg").resize((128, 128), Image.Resampling.LANCZOS).save(photo)
    drawn = Image.new("L", (128, 128))
    ImageDraw.Draw(drawn).rectangle((32, 32, 95, 95), fill=255)
    drawn.save(mask)
    return photo, mask


@pytest.mark.parametrize("settings", [{"steps": 20, "strength": 0.75}, {"steps": 10, "strength": 0.4}])
def test_the_bare_loop_is_the_programs_loop(settings: dict[str, float], files: tuple[Path, Path]) -> None:
    (checkpoint, *_) = Catalog(Settings().checkpoint_dirs, (), None).checkpoints()
    model = load_model(checkpoint, device=torch.device("cpu"), dtype=torch.float32)
    photo, mask = (Image.open(file) for file in files)
    paint = torch.zeros(1, 1, 16, 16)
    paint[:, :, 4:12, 4:12] = 1
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.inference_mode():
        bare = inpaint(model, pixels, paint, PROMPT, seed=3, steps=int(settings["steps"]),
                       strength=settings["strength"])
    request = Inpaint(prompt=PROMPT, steps=int(settings["steps"]), denoising_strength=settings["strength"], seed=3,
                      subseed=0, width=128, height=128, init_images=(photo.convert("RGB"),), mask=mask, mask_blur_x=0,
                      mask_blur_y=0, options=Options(small_mask="off"))
    made = recipes.generate(lambda *_: model, resolve(request), NullJob()).pictures[0].image
    inside = np.s_[40:88, 40:88]
    whole = (bare[0].clamp(-1, 1) + 1).mul(127.5).permute(1, 2, 0).numpy()
    assert np.abs(whole[inside] - np.asarray(made, float)[inside]).max() <= 1


@pytest.mark.parametrize("example", ["library", "bare_loop"])
def test_an_example_runs_as_its_first_line_says(example: str, files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    subprocess.run([sys.executable, "-m", f"examples.{example}", *map(str, files), PROMPT, str(out)], cwd=ROOT,
                   check=True)
    made, photo = np.asarray(Image.open(out), int), np.asarray(Image.open(files[0]), int)
    assert made.shape == photo.shape
    assert np.abs(made - photo)[48:80, 48:80].mean() > 10
