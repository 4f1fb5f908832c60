"""Control units in a request: what they change and what they leave as it is. The network is diffusers' with random
weights; tests/networks/control says that it answers as diffusers'."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from fakes import Recorded
from golden.runner import Bench
from golden.tiny import checkpoint
from PIL import Image, ImageDraw
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from modules.errors import InvalidInput, NotFound
from modules.request import ControlMode, ControlUnit, Img2Img, Inpaint, ScriptCall, Txt2Img
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.request.result import Result


def control_file(path: Path) -> None:
    torch.manual_seed(5)
    network = diffusers.ControlNetModel(
        block_out_channels=(32, 64, 128, 128), cross_attention_dim=64, attention_head_dim=8,
        conditioning_embedding_out_channels=(16, 32, 96, 256))
    for name, parameter in network.named_parameters():
        if name.startswith("controlnet_"):
            nn.init.normal_(parameter, std=0.3)
    save_file(network.state_dict(), path)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("control")
    control_file(folder / "edges.safetensors")
    return Bench(checkpoint("tiny-sd15").parent, folder / "data", controlnet_dir=folder)


def picture(size: tuple[int, int] = (96, 64)) -> Image.Image:
    image = Image.new("RGB", size, (30, 90, 160))
    ImageDraw.Draw(image).ellipse((20, 10, 70, 50), fill=(230, 200, 40))
    return image


UNIT = ControlUnit(module="canny", model="edges", image=picture())
OPTIONS = Options(sd_model_checkpoint="tiny-sd15")


def txt2img(*units: ControlUnit, **changes: Any) -> Txt2Img:
    return Txt2Img(**{"prompt": "a house", "negative_prompt": "dark", "sampler": "Euler a", "steps": 3, "seed": 7,
                      "width": 96, "height": 64, "options": OPTIONS, "control_units": units} | changes)


def inpaint(*units: ControlUnit, **changes: Any) -> Inpaint:
    mask = Image.new("L", (96, 64))
    ImageDraw.Draw(mask).rectangle((30, 16, 60, 40), fill=255)
    return Inpaint(**{"prompt": "a house", "sampler": "DDIM", "steps": 4, "seed": 7, "width": 96, "height": 64,
                      "options": OPTIONS, "control_units": units, "init_images": (picture(),), "mask": mask,
                      "mask_blur_x": 0, "mask_blur_y": 0} | changes)


def pixels(result: Result) -> list[np.ndarray]:
    return [np.asarray(one.image, int) for one in result.images]


def test_weight_0_is_no_unit_and_weight_1_is_seen(bench: Bench) -> None:
    plain, _, latents = bench.make(txt2img())
    result, _, unchanged = bench.make(txt2img(dataclasses.replace(UNIT, weight=0.0)))
    assert torch.equal(latents, unchanged)
    assert len(result.maps) == 1
    assert not plain.maps
    _, _, changed = bench.make(txt2img(UNIT))
    assert float((changed - latents).std()) > 0.1 * float(latents.std())


def test_a_unit_outside_of_its_steps_changes_nothing_before_them(bench: Bench) -> None:
    late = dataclasses.replace(UNIT, guidance_start=0.9)  # the step lags by one: 0, 0, 1 of 3
    assert torch.equal(bench.make(txt2img(late))[2], bench.make(txt2img())[2])


def test_a_batch_is_its_pictures_one_by_one(bench: Bench) -> None:
    unit = dataclasses.replace(UNIT, control_mode=ControlMode.CONTROL)
    together = bench.make(txt2img(unit, batch_size=2))[2]
    alone = [bench.make(txt2img(unit, seed=seed))[2][0] for seed in (7, 8)]
    assert float((together - torch.stack(alone)).abs().max()) < 1e-3 * float(together.std())


def test_two_units_of_half_the_weight_are_one(bench: Bench) -> None:
    halves = [dataclasses.replace(UNIT, weight=0.5)] * 2
    result, _, two = bench.make(txt2img(*halves))
    one = bench.make(txt2img(UNIT))[2]
    assert float((two - one).abs().max()) < 1e-3 * float(one.std())
    assert len(result.maps) == 2
    assert 'ControlNet 1: "Module: canny, Model: edges' in result.images[0].infotext


@pytest.mark.parametrize("only_masked", [False, True])
def test_what_is_not_painted_stays(bench: Bench, only_masked: bool) -> None:
    request = inpaint(dataclasses.replace(UNIT, image=None), only_masked=only_masked)
    (made,) = pixels(bench.make(request)[0])
    kept = np.asarray(request.mask) == 0
    assert np.array_equal(made[kept], np.asarray(picture(), int)[kept])
    (without,) = pixels(bench.make(dataclasses.replace(request, control_units=()))[0])
    assert not np.array_equal(made, without)


def test_inpaint_only_keeps_its_own_picture_outside_of_its_mask(bench: Bench) -> None:
    mask = Image.new("L", (96, 64))
    ImageDraw.Draw(mask).rectangle((40, 20, 60, 40), fill=255)
    unit = dataclasses.replace(UNIT, module="inpaint_only", mask=mask)
    (made,) = pixels(bench.make(txt2img(unit))[0])
    far = np.ones((64, 96), bool)
    far[4:56, 24:76] = False  # the seam is 7 pixels wide on both sides
    assert np.abs(made - np.asarray(picture(), int))[far].max() <= 1


def test_small_masks_and_the_step_cache_are_off_with_a_word(bench: Bench) -> None:
    options = OPTIONS.replaced({"small_mask": "auto", "step_cache": 2})
    unit = dataclasses.replace(UNIT, image=None)
    saving, _, latents = bench.make(inpaint(unit, options=options))
    assert saving.warnings == ("With ControlNet, small masks and the step cache are off.",)
    assert torch.equal(latents, bench.make(inpaint(unit))[2])


def test_units_of_ultimate_upscale_follow_each_tile_or_their_own_picture_there(bench: Bench) -> None:
    large = picture((192, 64))
    arguments = (None, 96, 64, 0, 16, 0, 0, 0, "None", True, "Linear", True, 0, "None", "Custom size", 192, 64)
    request = Img2Img(prompt="a house", sampler="Euler", steps=3, seed=7, denoising_strength=0.8, init_images=(large,),
                      options=OPTIONS, script=ScriptCall("Ultimate SD upscale", arguments))
    plain, following, own = (np.asarray(bench.engine.generate(dataclasses.replace(
        request, control_units=units), NullJob()).images[0].image, int) for units in (
        (), (dataclasses.replace(UNIT, image=None),), (dataclasses.replace(UNIT, image=large),)))
    first = np.s_[:, :96]  # the second tile's surroundings are drawn already, its own control picture is not
    assert np.array_equal(following[first], own[first])
    assert np.abs(following - plain)[first].mean() > 1
    assert not np.array_equal(following[:, 96:], own[:, 96:])


@pytest.mark.parametrize(("changes", "error", "field"), [
    ({"model": "unknown"}, NotFound, "model"), ({"model": "None"}, InvalidInput, "model"),
    ({"image": None}, InvalidInput, "image"), ({"module": "unknown"}, InvalidInput, None),
    ({"advanced_weighting": (1.0, 2.0)}, InvalidInput, "advanced_weighting"),
    ({"module": "inpaint", "mask": Image.new("L", (8, 8))}, InvalidInput, None)])
def test_what_cannot_be_carried_out_is_refused_in_a_sentence(bench: Bench, changes: dict[str, Any],
                                                             error: type[Exception], field: str | None) -> None:
    with pytest.raises(error) as raised:
        bench.make(txt2img(dataclasses.replace(UNIT, **changes)))
    assert raised.value.field == field  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["edges", "EDGES", "dge"])
def test_a_model_is_found_by_its_name_or_a_part_of_it(bench: Bench, text: str) -> None:
    assert bench.engine.control.find(text).name == "edges"
    assert bench.engine.control.find(bench.engine.control_files.titles()[0]).name == "edges"


def test_a_recording_tells_how_strong_control_is_at_each_call(bench: Bench, tmp_path: Path) -> None:
    def strengths(**changes: Any) -> tuple[list[list[float]], torch.Tensor]:
        job = Recorded(tmp_path)
        _, _, latents = bench.make(txt2img(dataclasses.replace(UNIT, **changes), record_steps=True), job)
        with safe_open(job.files[0], "pt") as file:
            return [call["control"] for call in json.loads(file.metadata()["steps"])["calls"]], latents

    whole, latents = strengths()
    assert [len(call) for call in whole] == [13, 13, 13]
    assert min(map(min, whole)) > 0
    assert torch.equal(latents, bench.make(txt2img(UNIT))[2])
    half, _ = strengths(weight=0.5)
    assert np.allclose(half[0], np.array(whole[0]) / 2, rtol=1e-5)  # x is the same at the first call only
    early, _ = strengths(guidance_end=0.3)
    assert [len(call) for call in early] == [13, 13, 0]
    assert early[0] == whole[0]
