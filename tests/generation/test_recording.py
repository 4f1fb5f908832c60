"""Recorded steps: what is written obeys the formulas, and writing it changes no picture."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import FakeModel, Recorded, fake_engine, write_checkpoint
from PIL import Image, ImageDraw
from safetensors import safe_open

from modules.engine.engine import Engine
from modules.request import Inpaint, Txt2Img
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.sampling import registry
from modules.sampling.conditioning import stack
from modules.sampling.levels import FLOW, V_PREDICTION, Flow, Level, PredictionType
from modules.sampling.noise import ImageNoise
from modules.settings import Settings


def engine_over(model: FakeModel, folder: Path) -> Engine:
    write_checkpoint(folder / "models" / "Stable-diffusion", "only")
    return fake_engine(Settings(data_dir=folder), lambda name: model)


Steps = dict[str, torch.Tensor]


def read(path: Path) -> tuple[dict[str, Any], Steps]:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["steps"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def disc() -> Image.Image:
    mask = Image.new("L", (64, 48))
    ImageDraw.Draw(mask).ellipse((16, 12, 48, 36), fill=255)
    return mask


def inpaint(**changes: Any) -> Inpaint:
    options = Options().replaced({"small_mask": "off"} | changes.pop("options", {}))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8))
    return Inpaint(**{"prompt": "a", "steps": 6, "seed": 5, "width": 64, "height": 48, "init_images": (picture,),
                      "mask": disc(), "options": options} | changes)


def recorded(request: Txt2Img, tmp_path: Path, model: FakeModel | None = None) -> list[tuple[dict[str, Any], Steps]]:
    """The recordings of `request`, whose pictures are the same as without."""
    job = Recorded(tmp_path / "steps")
    engine = engine_over(model or FakeModel(), tmp_path)
    with_steps = engine.generate(dataclasses.replace(request, record_steps=True), job)
    without = engine.generate(request, job)
    assert [one.image.tobytes() for one in with_steps.images] == [one.image.tobytes() for one in without.images]
    assert with_steps.images[0].infotext == without.images[0].infotext
    return [read(path) for path in job.files]


def levels(about: dict[str, Any], name: str) -> torch.Tensor:
    return torch.tensor([call[name] for call in about["calls"]], dtype=torch.float32)[:, None, None, None, None]


def test_classic_inpainting_is_the_line_that_the_project_is_named_for(tmp_path: Path) -> None:
    [(about, steps)] = recorded(inpaint(), tmp_path)
    paint, clean = steps["paint"], FakeModel().encode_image(_pixels(inpaint().init_images[0]))
    noise = ImageNoise((4, 6, 8), (5,)).first()
    signal, level = levels(about, "signal"), levels(about, "noise")
    wanted = (1 - paint) * (signal * clean + level * noise) + paint * steps["current"]
    assert {call["where"] for call in about["calls"]} == {"x"}
    assert torch.allclose(steps["x"], wanted, atol=1e-6, rtol=0)
    assert torch.equal(steps["result"], steps["x"])


def _pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 127.5 - 1


@pytest.mark.parametrize(("changes", "where"), [
    ({"options": {"ddim_loop": "webui-1.10"}}, "input"),
    ({"sampler": "PLMS"}, "input"),
    ({"sampler": "Euler a"}, "x0"),
    ({"sampler": "DPM++ 2M"}, "x0"),
    ({"sampler": "Heun"}, "x0")])
def test_elsewhere_the_clean_original_is_blended(changes: dict[str, Any], where: str, tmp_path: Path) -> None:
    [(about, steps)] = recorded(inpaint(**changes), tmp_path)
    paint, clean = steps["paint"], FakeModel().encode_image(_pixels(inpaint().init_images[0]))
    assert {call["where"] for call in about["calls"]} == {where}
    assert torch.allclose(steps["result"], (1 - paint) * clean + paint * steps["current"], atol=1e-6, rtol=0)
    if where == "x0":
        assert torch.allclose(steps["current"], steps["x0"], atol=2e-5, rtol=1e-4)
    else:
        assert torch.equal(steps["result"], steps["x"])


@pytest.mark.parametrize("sampler", [one.name for one in registry.SAMPLERS])
def test_every_call_of_every_sampler_is_x_of_its_level(sampler: str, tmp_path: Path) -> None:
    request = Txt2Img(prompt="a", sampler=sampler, steps=5, seed=3, width=32, height=32, cfg_scale=1.0)
    [(about, steps)] = recorded(request, tmp_path)
    signal, noise, eps = levels(about, "signal"), levels(about, "noise"), steps["guided"]
    assert torch.allclose(steps["x"], signal * steps["x0"] + noise * eps, atol=1e-4, rtol=1e-4)
    assert [call["number"] for call in about["calls"]] == list(range(len(about["calls"])))
    assert [call["step"] for call in about["calls"]] == sorted(call["step"] for call in about["calls"])
    assert about["sampler"] == sampler


@pytest.mark.parametrize("sampler", ["Heun", "DPM2", "DPM2 a", "DPM++ SDE", "DPM++ 2S a"])
def test_the_second_call_of_a_step_is_of_that_step(sampler: str, tmp_path: Path) -> None:
    [(about, _)] = recorded(inpaint(sampler=sampler, scheduler="Karras", steps=5, denoising_strength=1.0), tmp_path)
    steps = [call["step"] for call in about["calls"]]
    assert steps == sorted(steps)
    assert [steps.count(step) for step in range(5)] == [2, 2, 2, 2, 1]  # the last one ends at sigma 0


@pytest.mark.parametrize("prediction", [V_PREDICTION, FLOW])
def test_other_predictions_obey_the_same_line(prediction: PredictionType, tmp_path: Path) -> None:
    model = FakeModel(prediction=prediction, **({"levels": Flow.shifted(3.0)} if prediction is FLOW else {}))
    for sampler in ("DDIM", "Euler"):
        about, steps = recorded(inpaint(sampler=sampler), tmp_path / sampler, model)[0]
        signal, noise, out = levels(about, "signal"), levels(about, "noise"), steps["guided"]
        eps = signal * out + noise * steps["x"] if prediction is V_PREDICTION else out + steps["x0"]
        assert torch.allclose(steps["x"], signal * steps["x0"] + noise * eps, atol=1e-4, rtol=1e-4)


def test_guidance_is_the_scaled_difference_of_two_answers(tmp_path: Path) -> None:
    model = FakeModel()
    about, steps = recorded(inpaint(prompt="a", negative_prompt="b", cfg_scale=4.0), tmp_path, model)[0]
    for call, x, guided, uncond in zip(about["calls"], steps["x"], steps["guided"], steps["uncond"], strict=True):
        level = Level(call["t"], call["signal"], call["noise"])
        cond, plain = (model.predict(x, level, stack(model.encode_prompts([text]))) for text in ("a", "b"))
        assert torch.allclose(uncond, plain, atol=1e-5)
        assert torch.allclose(guided, plain + 4 * (cond - plain), atol=1e-5)


def test_hires_fix_is_two_runs_and_a_batch_one(tmp_path: Path) -> None:
    request = Txt2Img(prompt="a", steps=3, seed=1, width=32, height=32, batch_size=2, n_iter=2, enable_hr=True,
                      hr_scale=2.0, denoising_strength=0.7, sampler="Euler")
    found = recorded(request, tmp_path)
    assert [about["second"] for about, _ in found] == [False, True, False, True]
    assert [steps["x"].shape[1:] for _, steps in found[:2]] == [(2, 4, 4, 4), (2, 4, 8, 8)]


def test_small_masks_name_their_window(tmp_path: Path) -> None:
    mask = Image.new("L", (256, 256))
    ImageDraw.Draw(mask).rectangle((100, 100, 130, 130), fill=255)
    picture = Image.new("RGB", (256, 256), "teal")
    request = inpaint(mask=mask, init_images=(picture,), width=256, height=256, steps=20,
                      options={"small_mask": "auto"})
    about, steps = recorded(request, tmp_path)[0]
    windows = [call["window"] for call in about["calls"]]
    assert windows[0] is None
    left, top, right, bottom = next(one for one in windows if one)
    assert left <= 100 // 8 < 131 // 8 <= right
    assert len(windows) == 15  # 20 steps at strength 0.75; keyframes computed ahead are not calls of the walk
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[top:bottom, left:right] = True
    last = len(windows) - 1
    assert windows[last]
    assert not bool(steps["guided"][last, 0][:, ~inside].any())
    signal, noise = about["calls"][last]["signal"], about["calls"][last]["noise"]
    x0 = (steps["x"][last] - noise * steps["guided"][last]) / signal
    assert torch.allclose(steps["x0"][last, 0][:, inside], x0[0][:, inside], atol=1e-4)


def test_twenty_steps_at_512_take_less_than_40_mb(tmp_path: Path) -> None:
    big = Image.new("RGB", (512, 512), "teal")
    request = inpaint(width=512, height=512, init_images=(big,), mask=disc().resize((512, 512)), steps=20,
                      denoising_strength=1.0)
    job = Recorded(tmp_path)
    engine_over(FakeModel(), tmp_path).generate(dataclasses.replace(request, record_steps=True), job)
    assert len(read(job.files[0])[0]["calls"]) >= 19
    assert job.files[0].stat().st_size < 40e6


def test_an_extension_watches_the_same_calls_and_may_fail(tmp_path: Path) -> None:
    folder = tmp_path / "extensions" / "watcher"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text('''"""Watches."""
from modules.hookspecs import hookimpl
CALLS = []
@hookimpl
def watch_steps(run):
    CALLS.clear()
    def watch(call):
        CALLS.append((run, call))
        if len(CALLS) == 3:
            raise ValueError("enough")
    return watch
''')
    engine = engine_over(FakeModel(), tmp_path)
    result = engine.generate(inpaint(), NullJob())
    assert [warning for warning in result.warnings if "watcher" in warning and "enough" in warning]
    plain = engine_over(FakeModel(), tmp_path / "plain").generate(inpaint(), NullJob())
    assert result.images[0].image.tobytes() == plain.images[0].image.tobytes()


def test_a_disk_that_takes_nothing_costs_a_warning_only(tmp_path: Path) -> None:
    (tmp_path / "steps").write_text("a file where the folder should be")
    job = Recorded(tmp_path / "steps")
    result = engine_over(FakeModel(), tmp_path).generate(dataclasses.replace(inpaint(), record_steps=True), job)
    assert len(result.images) == 1
    assert any("no recording" in warning for warning in result.warnings)

