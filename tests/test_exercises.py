"""The answers to the exercises of docs/how-inpainting-works.md, and that the document is up to date."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import FakeModel, fake_engine, write_checkpoint
from PIL import Image, ImageDraw
from safetensors.numpy import load_file

from modules.engine.engine import Engine
from modules.gallery.steps import Steps
from modules.request import Inpaint
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.settings import Settings

DOCS = Path(__file__).parent.parent / "docs"
EXTENSION = '''"""Keeps less of the original at low noise."""
from modules.hookspecs import hookimpl

@hookimpl
def blend_mask(paint):
    def blend(original, current, level):
        keep = level.noise * (1 - paint)
        return keep * original + (1 - keep) * current
    return blend
'''


class Folder(NullJob):
    """Records into one file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def recording(self) -> Path:
        return self.file


def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (48, 64, 3)).astype(np.uint8))


def request(paint: tuple[int, int, int, int] | None = (16, 16, 47, 31), **changes: object) -> Inpaint:
    mask = Image.new("L", (64, 48))
    if paint:
        ImageDraw.Draw(mask).rectangle(paint, fill=255)
    return Inpaint(**{"prompt": "a", "seed": 2, "steps": 20, "width": 64, "height": 48, "init_images": (photo(),),
                      "mask": mask, "mask_blur_x": 0, "mask_blur_y": 0, "record_steps": True,
                      "options": Options(small_mask="off")} | changes)


def engine_at(folder: Path) -> Engine:
    write_checkpoint(folder / "models" / "Stable-diffusion", "only")
    return fake_engine(Settings(data_dir=folder), lambda name: FakeModel())


@pytest.fixture
def run(tmp_path: Path) -> tuple[Engine, Folder]:
    return engine_at(tmp_path), Folder(tmp_path / "steps.safetensors")


def test_1_an_empty_mask_gives_the_photograph_back(run: tuple[Engine, Folder]) -> None:
    engine, job = run
    made = engine.generate(request(None), job).images[0].image
    assert made.tobytes() == photo().tobytes()


def test_2_thirty_steps_at_half_strength_are_fifteen_calls(run: tuple[Engine, Folder]) -> None:
    engine, job = run
    engine.generate(request(steps=30, denoising_strength=0.5), job)
    assert len(Steps(job.file).about["calls"]) == 15


def test_3_the_signal_of_the_level_tells_how_near_the_kept_part_is(run: tuple[Engine, Folder]) -> None:
    engine, job = run
    engine.generate(request(), job)
    kept, calls = load_file(job.file), Steps(job.file).about["calls"]
    pixels = torch.from_numpy(np.array(photo())).permute(2, 0, 1)[None] / 127.5 - 1
    clean = FakeModel().encode_image(pixels).numpy()
    outside = kept["paint"][0, 0] == 0
    distance = [float(np.abs(x - clean)[0][:, outside].mean()) for x in kept["x"]]
    assert np.argsort(distance).tolist() == np.argsort([-call["signal"] for call in calls]).tolist()


def test_4_the_clean_original_is_the_loop_of_webui_1_10(run: tuple[Engine, Folder]) -> None:
    """What happens to the brightness is in test_dark_inpainting.py."""
    engine, job = run
    engine.generate(request(options=Options(small_mask="off", ddim_loop="webui-1.10")), job)
    kept = load_file(job.file)
    keep = 1 - kept["paint"]
    clean = kept["original"][0]
    for x, current in zip(kept["result"], kept["current"], strict=True):
        assert np.allclose(x, keep * clean + kept["paint"] * current, atol=1e-6)


def test_5_an_extension_of_five_lines_keeps_less_at_low_noise(tmp_path: Path) -> None:
    folder = tmp_path / "extensions" / "ramp"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(EXTENSION)
    assert len(EXTENSION.partition("@hookimpl\n")[2].splitlines()) == 5
    job = Folder(tmp_path / "steps.safetensors")
    engine_at(tmp_path).generate(request(), job)
    kept, calls = load_file(job.file), Steps(job.file).about["calls"]
    for n, call in enumerate(calls):
        keep = call["noise"] * (1 - kept["paint"])
        assert np.allclose(kept["x"][n], keep * kept["original"][n] + (1 - keep) * kept["current"][n], atol=1e-6)


@pytest.mark.parametrize("name", ["how-inpainting-works.md", "how-inpainting-works.zh.md"])
def test_what_the_document_names_is_there(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (DOCS / target).exists(), target
    for file, function in (("sampling/mask.py", "linear_blend"), ("sampling/mask.py", "MaskedInput"),
                           ("sampling/mask.py", "MaskedDenoiser"), ("sampling/mask.py", "soft_blend"),
                           ("sampling/levels.py", "_from_eps"), ("sampling/levels.py", "noised"),
                           ("sampling/solvers/ddim.py", "move"), ("sampling/guidance.py", "GuidedDenoiser"),
                           ("sampling/sample.py", "blend_end")):
        assert function in text
        assert re.search(rf"(def|class) {function}\b", (DOCS.parent / "modules" / file).read_text(encoding="utf-8"))
