"""The noise levels that are told before a run are those at which the network is then asked."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from fakes import FakeModel, fake_engine, write_checkpoint
from PIL import Image
from safetensors import safe_open

from modules.engine.engine import Engine
from modules.engine.timetable import timetable
from modules.errors import InvalidInput
from modules.request import Img2Img, Txt2Img
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.sampling import registry
from modules.sampling.levels import FLOW, Flow
from modules.settings import Settings


class Recorded(NullJob):
    """A job that records its one run."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def recording(self) -> Path:
        return self.file


def engine_over(model: FakeModel, folder: Path) -> Engine:
    write_checkpoint(folder / "models" / "Stable-diffusion", "only")
    return fake_engine(Settings(data_dir=folder), lambda name: model)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return engine_over(FakeModel(), tmp_path)


def recorded(engine: Engine, request: Txt2Img, folder: Path) -> list[dict[str, float]]:
    job = Recorded(folder / "steps.safetensors")
    engine.generate(dataclasses.replace(request, record_steps=True), job)
    with safe_open(job.file, "pt") as file:
        return list(json.loads(file.metadata()["steps"])["calls"])


def told(engine: Engine, request: Txt2Img) -> list[dict[str, float]]:
    strength = request.denoising_strength if isinstance(request, Img2Img) else None
    return list(timetable(engine, request.sampler, request.scheduler, request.steps, strength,
                          request.options)["calls"])


@pytest.mark.parametrize("sampler", [one.name for one in registry.SAMPLERS if one.name != "DPM adaptive"])
def test_the_calls_are_those_of_a_run(sampler: str, engine: Engine, tmp_path: Path) -> None:
    small = {"prompt": "a", "sampler": sampler, "steps": 7, "seed": 1, "width": 16, "height": 16}
    for request in (Txt2Img(**small), Img2Img(**small, init_images=(Image.new("RGB", (16, 16)),)),
                    Img2Img(**small, init_images=(Image.new("RGB", (16, 16)),), options=Options().replaced(
                        {"ddim_loop": "webui-1.10", "img2img_fix_steps": True, "sd_noise_schedule":
                         "Zero Terminal SNR"}))):
        for name in ("t", "signal", "noise"):
            assert [one[name] for one in told(engine, request)] == pytest.approx(
                [one[name] for one in recorded(engine, request, tmp_path)], abs=1e-6)


def test_a_flow_has_other_levels(tmp_path: Path) -> None:
    engine = engine_over(FakeModel(prediction=FLOW, levels=Flow.shifted(3.0)), tmp_path)
    request = Txt2Img(prompt="a", sampler="Euler", steps=4, seed=1, width=16, height=16)
    calls = recorded(engine, request, tmp_path)
    assert [one["noise"] for one in told(engine, request)] == pytest.approx([one["noise"] for one in calls])


def test_the_sentence_counts_steps_and_calls(engine: Engine) -> None:
    def sentence(sampler: str, strength: float | None) -> str:
        return str(timetable(engine, sampler, "Automatic", 20, strength, Options())["sentence"])

    assert sentence("Euler", None) == "20 steps from pure noise: 20 calls of the network."
    assert sentence("DDIM", 0.75).endswith("noised 75% of the way up, so only the last 15 steps are left: 15 calls of "
                                           "the network.")
    assert sentence("Heun", None).endswith("39 calls of the network (some steps ask it twice).")  # the last one once


def test_the_ratio_is_in_decibels(engine: Engine) -> None:
    for call in told(engine, Txt2Img(sampler="DDIM", steps=10)):
        assert 10 ** (call["snr"] / 10) == pytest.approx((call["signal"] / call["noise"]) ** 2, rel=2e-3)


@pytest.mark.parametrize(("sampler", "steps", "strength"), [("no", 20, None), ("DDIM", 0, None), ("DDIM", 10**9, None),
                                                           ("DDIM", 20, 1.5), ("UniPC", 1, None)])
def test_what_cannot_be_walked_is_refused(sampler: str, steps: int, strength: float | None, engine: Engine) -> None:
    with pytest.raises(InvalidInput):
        timetable(engine, sampler, "Automatic", steps, strength, Options())
