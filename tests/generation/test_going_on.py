"""What if: a run that goes on with something else after some calls, from its recording or without it."""

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
from modules.errors import InvalidInput
from modules.generation.going_on import denoiser
from modules.generation.replay import Replay
from modules.request import Inpaint, Txt2Img
from modules.request.going_on import changed
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.request.result import Result
from modules.sampling import registry
from modules.sampling.conditioning import Conditioning
from modules.sampling.guidance import GuidedDenoiser
from modules.sampling.levels import Level
from modules.settings import Settings
from modules.text import infotext

NAMES = [one.name for one in registry.SAMPLERS]


class Counting(FakeModel):
    """Counts the rows that it is asked about."""

    rows = 0

    def predict(self, x: Any, level: Level, cond: Conditioning) -> Any:
        self.rows += len(x)
        return super().predict(x, level, cond)


@pytest.fixture
def model() -> Counting:
    return Counting()


@pytest.fixture
def engine(model: Counting, tmp_path: Path) -> Engine:
    write_checkpoint(tmp_path / "models" / "Stable-diffusion", "only")
    return fake_engine(Settings(data_dir=tmp_path), lambda name: model)


def disc(box: tuple[int, int, int, int] = (16, 12, 48, 36)) -> Image.Image:
    mask = Image.new("L", (64, 48))
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    return mask


def inpaint(**changes: Any) -> Inpaint:
    options = Options().replaced({"small_mask": "off"} | changes.pop("options", {}))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8))
    return Inpaint(**{"prompt": "a", "steps": 6, "seed": 5, "subseed": 1, "width": 64, "height": 48,
                      "init_images": (picture,), "mask": disc(), "mask_blur_x": 0, "mask_blur_y": 0,
                      "options": options} | changes)


def txt2img(**changes: Any) -> Txt2Img:
    return Txt2Img(**{"prompt": "a", "steps": 6, "seed": 3, "subseed": 1, "width": 32, "height": 32} | changes)


def pixels(result: Result) -> bytes:
    return b"".join(one.image.tobytes() for one in result.images)


def record(engine: Engine, request: Txt2Img, folder: Path) -> tuple[Result, Path]:
    job = Recorded(folder / "steps")
    return engine.generate(dataclasses.replace(request, record_steps=True), job), job.files[0]


def go_on(engine: Engine, request: Txt2Img, after: int, recording: Path | None, **changes: Any) -> Result:
    return engine.generate(dataclasses.replace(request, go_on_after=after, replayed=recording, **changes), NullJob())


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sampler", NAMES)
def test_with_nothing_changed_the_picture_is_the_same(sampler: str, masked: bool, engine: Engine, model: Counting,
                                                      tmp_path: Path) -> None:
    request = inpaint(sampler=sampler) if masked else txt2img(sampler=sampler, batch_size=2)
    whole, recording = record(engine, request, tmp_path)
    all_rows, model.rows = model.rows, 0
    assert pixels(go_on(engine, request, 3, recording)) == pixels(whole)
    a_call = (all_rows - model.rows) / 3
    assert a_call == 2 * request.batch_size, "three calls, with prompt and without, were not computed again"
    assert pixels(go_on(engine, request, 3, None)) == pixels(whole)


@pytest.mark.parametrize("options", [{"ddim_loop": "webui-1.10"}, {"mask_noise": "fresh"}, {"step_cache": 2},
                                     {"small_mask": "strong"}, {"eta_ddim": 0.5}])
def test_it_is_the_same_with_other_loops_too(options: dict[str, Any], engine: Engine, tmp_path: Path) -> None:
    size = {"width": 256, "height": 256, "steps": 20} if "small_mask" in options else {}
    request = inpaint(options=options, **size)
    whole, recording = record(engine, request, tmp_path)
    assert pixels(go_on(engine, request, 3, recording)) == pixels(whole)


CHANGES: list[dict[str, Any]] = [
    {"then_prompt": "another"}, {"then_negative_prompt": "b"}, {"then_cfg_scale": 2.0}, {"then_sampler": "Euler"},
    {"then_sampler": "DPM++ SDE Karras"}, {"then_seed": 11}, {"then_strength": 0.9},
    {"then_mask": disc((30, 12, 60, 36))}, {"then_mask": disc((30, 12, 60, 36)), "then_sampler": "Euler a"}]


@pytest.mark.parametrize("sampler", ["DDIM", "Heun"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_changes_the_picture_and_needs_no_recording(change: dict[str, Any], sampler: str, engine: Engine,
                                                             tmp_path: Path) -> None:
    request = inpaint(sampler=sampler)
    whole, recording = record(engine, request, tmp_path)
    replayed = go_on(engine, request, 2, recording, **change)
    assert pixels(replayed) != pixels(whole)
    assert pixels(replayed) == pixels(go_on(engine, request, 2, None, **change))
    assert pixels(replayed) != pixels(go_on(engine, request, 3, None, **change))


def test_a_changed_prompt_is_one_that_was_scheduled(engine: Engine) -> None:
    for sampler in ("DDIM", "Euler a", "Heun"):
        request = txt2img(sampler=sampler, prompt="a cat", steps=8)
        scheduled = engine.generate(dataclasses.replace(request, prompt="a [cat:dog:4]"), NullJob())
        assert pixels(go_on(engine, request, 5, None, then_prompt="a dog")) == pixels(scheduled)  # 0 to 4 are the cat's


def test_the_kept_part_of_the_second_mask_is_the_photograph(engine: Engine) -> None:
    request = inpaint()
    later = disc((30, 12, 60, 36))
    (made,) = go_on(engine, request, 2, None, then_mask=later).images
    photograph, kept = np.asarray(request.init_images[0]), np.asarray(later) == 0
    assert np.array_equal(np.asarray(made.image)[kept], photograph[kept])
    assert not np.array_equal(np.asarray(made.image), photograph)


def test_the_parameters_text_makes_the_same_picture(engine: Engine) -> None:
    change = {"then_prompt": "a dog, red", "then_cfg_scale": 3.0, "then_sampler": "euler karras", "then_seed": 4}
    (made,) = go_on(engine, txt2img(), 2, None, **change).images
    assert 'Go on after: 2, Then prompt: "a dog, red", Then CFG scale: 3.0, Then sampler: Euler Karras, ' \
        "Then seed: 4" in made.infotext
    read = infotext.to_changes(infotext.parse(made.infotext)).fields
    names = {item.name for item in dataclasses.fields(Txt2Img)}
    again = Txt2Img(**{name: value for name, value in read.items() if name in names})
    assert pixels(engine.generate(again, NullJob())) == made.image.tobytes()
    plain = infotext.to_changes(infotext.parse("a\nSteps: 20, Sampler: DDIM, Seed: 1")).fields
    assert (plain["go_on_after"], plain["then_seed"], plain["then_prompt"]) == (0, -1, "")


def test_a_recording_of_another_run_is_refused(engine: Engine, tmp_path: Path) -> None:
    _, recording = record(engine, txt2img(), tmp_path)
    for other in ({"prompt": "b"}, {"cfg_scale": 3.0}, {"seed": 9}, {"sampler": "Euler"}):
        with pytest.raises(InvalidInput, match="another run"):
            go_on(engine, txt2img(**other), 2, recording)
    second, gone_on = record(engine, txt2img(go_on_after=2, then_prompt="b"), tmp_path / "second")
    with pytest.raises(InvalidInput, match="another run"):
        go_on(engine, txt2img(), 4, gone_on)
    recording.unlink()
    assert pixels(go_on(engine, txt2img(), 2, recording, then_prompt="b")) == pixels(second)


def test_an_opened_recording_may_be_removed(engine: Engine, tmp_path: Path) -> None:
    _, recording = record(engine, txt2img(), tmp_path)
    with safe_open(recording, "pt") as file:
        about, x, guided = json.loads(file.metadata()["steps"]), file.get_tensor("x"), file.get_tensor("guided")
    replay = Replay(recording, about["request"])
    recording.unlink()
    assert torch.equal(replay.answers(2, x[2])[0], guided[2])
    with pytest.raises(InvalidInput, match="another run"):
        replay.answers(2, x[3])


def test_a_change_behind_the_last_call_is_told(engine: Engine) -> None:
    request = txt2img(sampler="Euler")
    result = go_on(engine, request, 50, None, then_prompt="b")
    assert "The run has 6 calls of the network only, so nothing changed on the way." in result.warnings
    assert pixels(result) == pixels(engine.generate(request, NullJob()))


def test_a_run_that_nobody_watches_or_changes_has_the_plain_denoiser() -> None:
    assert denoiser(None, None) is GuidedDenoiser


def test_without_calls_before_it_nothing_holds(engine: Engine) -> None:
    (made,) = go_on(engine, txt2img(), 0, None, then_prompt="b", then_sampler="nonsense").images
    assert made.image.tobytes() == pixels(engine.generate(txt2img(), NullJob()))
    assert "Then" not in made.infotext


@pytest.mark.parametrize(("request_", "sentence"), [
    (txt2img(enable_hr=True, go_on_after=2), "hires fix"),
    (inpaint(only_masked=True, go_on_after=2, then_mask=disc()), "Only masked"),
    (inpaint(only_masked=True, each_spot=True, go_on_after=2), "Each spot"),
    (txt2img(go_on_after=2, then_prompt="a <lora:x:1>"), "LoRAs"),
    (txt2img(go_on_after=2, then_sampler="nonsense"), "no sampler")])
def test_what_cannot_change_is_refused(request_: Txt2Img, sentence: str, engine: Engine) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        engine.generate(request_, NullJob())


def test_two_requests_make_one_that_changes_on_its_way() -> None:
    before = inpaint(prompt="a", seed=5, batch_size=2, n_iter=3)
    mask = disc((0, 0, 20, 20))
    after = inpaint(prompt="b", seed=-1, cfg_scale=3.0, batch_size=2, scheduler="Karras", sampler="Euler", mask=mask,
                    init_images=(before.init_images[0].copy(),))
    found = changed(before, after, 4, run=1)
    assert isinstance(found, Inpaint)
    assert (found.prompt, found.seed, found.n_iter, found.go_on_after) == ("a", 7, 1, 4)
    assert (found.then_prompt, found.then_cfg_scale, found.then_sampler, found.then_seed, found.then_mask) == (
        "b", 3.0, "Euler Karras", -1, mask)
    assert changed(before, dataclasses.replace(before, seed=8), 4).then_seed == 8
    for other, label in ((inpaint(batch_size=2, steps=9), "Sampling steps"), (txt2img(), "another tab"),
                         (inpaint(batch_size=2, options={"step_cache": 2}), "differs")):
        with pytest.raises(InvalidInput, match=label):
            changed(before, other, 4)
    with pytest.raises(InvalidInput, match="first call"):
        changed(before, before, 0)
    with pytest.raises(InvalidInput, match="itself"):
        changed(dataclasses.replace(before, go_on_after=2), before, 4)
