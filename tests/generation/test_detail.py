"""The detailer with a detector that finds what it is told to: each find is what Only masked makes of it."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from fakes import FakeModel, fake_engine
from PIL import Image

from modules.engine.engine import Engine
from modules.errors import CheckpointError, Interrupted, InvalidInput, Skipped, Stopped
from modules.generation import detail
from modules.imaging.detectors.find import Find
from modules.imaging.detectors.registry import BUILT_IN
from modules.request import ControlUnit, Img2Img, Inpaint, MaskedContent, Txt2Img
from modules.request.detail import DetailPass
from modules.request.job_context import NullJob, Preview
from modules.request.options import BY_AREA, Options
from modules.request.result import Result
from modules.settings import Settings
from modules.text import infotext

FACE = DetailPass(dilate_erode=9)
"""Four pixels more on each side."""
BOXES = [(8, 8, 24, 24), (40, 32, 64, 56)]
SMALL, LARGE = BOXES


@pytest.fixture
def engine(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine whose detailer finds BOXES, and whose pictures are of middling colours."""
    engine = fake_engine(settings, lambda name: FakeModel(name=name, mean=0.0, std=0.3, shift=0.3))
    monkeypatch.setitem(BUILT_IN, "Face", lambda: lambda picture, least: [Find(box, 0.5) for box in BOXES])
    return engine


def request(*passes: DetailPass, **changes: Any) -> Txt2Img:
    values = {"prompt": "a crowd", "negative_prompt": "dull", "width": 64, "height": 64, "steps": 3, "seed": 11,
              "cfg_scale": 1.5, "sampler": "Euler",
              "detail": passes, "options": Options(ad_bbox_sortby=BY_AREA)}
    return Txt2Img(**values | changes)


def made(engine: Engine, what: Txt2Img) -> Result:
    result = engine.generate(what, NullJob())
    assert result.warnings == ()
    return result


def by_hand(engine: Engine, picture: Image.Image, box: tuple[int, ...], seed: int, **changes: Any) -> Image.Image:
    """What a person would do: paint the box, choose Only masked, and generate."""
    left, top, right, bottom = box
    mask = np.zeros((picture.height, picture.width), np.uint8)
    mask[max(top - 4, 0):bottom + 4, max(left - 4, 0):right + 4] = 255
    common = {one.name: getattr(request(), one.name) for one in fields(Txt2Img)}
    values = {"init_images": (picture,), "mask": Image.fromarray(mask), "seed": seed, "only_masked": True,
              "only_masked_padding": 32, "mask_blur_x": 4, "mask_blur_y": 4, "denoising_strength": 0.4,
              "masked_content": MaskedContent.ORIGINAL}
    return made(engine, Inpaint(**common | values | changes)).images[0].image


def test_each_find_is_what_only_masked_makes_of_it_largest_first(engine: Engine) -> None:
    plain = made(engine, request()).images[0].image
    expected = by_hand(engine, by_hand(engine, plain, LARGE, 11), SMALL, 12)
    result = made(engine, request(FACE))
    assert result.images[0].image.tobytes() == expected.tobytes() != plain.tobytes()
    assert len(result.images) == 1
    assert result.images[0].seed == 11


def test_everything_of_its_own(engine: Engine) -> None:
    plain = made(engine, request()).images[0].image
    expected = by_hand(engine, plain, LARGE, 11, prompt="a face of a crowd", negative_prompt="dull",
                       denoising_strength=0.7, only_masked_padding=8, mask_blur_x=2, mask_blur_y=2, steps=5,
                       cfg_scale=2, sampler="DPM++ 2M", scheduler="Karras", width=128, height=96,
                       initial_noise_multiplier=0.9)
    one = DetailPass(dilate_erode=9, prompt="a face of [PROMPT]", denoising_strength=0.7, mask_blur=2, mask_k_largest=1,
                     inpaint_only_masked_padding=8, use_steps=True, steps=5, use_cfg_scale=True, cfg_scale=2.0,
                     use_sampler=True, sampler="DPM++ 2M Karras", use_inpaint_width_height=True, inpaint_width=128,
                     inpaint_height=96, use_noise_multiplier=True, noise_multiplier=0.9)
    result = made(engine, request(one))
    assert result.images[0].image.tobytes() == expected.tobytes() != plain.tobytes()
    changes = infotext.to_changes(infotext.parse(result.images[0].infotext))
    assert changes.detail == (one,)
    assert not any("ADetailer" in words for words in changes.unsupported)
    again = request(*changes.detail)
    assert made(engine, again).images[0].image.tobytes() == expected.tobytes()


def test_a_checkpoint_of_its_own(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next picture is made with the request's again."""
    means = {"first": 0.0, "second": 0.4}
    engine = fake_engine(settings, lambda name: FakeModel(name=name, mean=means[name], std=0.3, shift=0.3))
    monkeypatch.setitem(BUILT_IN, "Face", lambda: lambda picture, least: [Find(box, 0.5) for box in BOXES])
    plain = [one.image for one in made(engine, request(n_iter=2)).images]
    other = Options(ad_bbox_sortby=BY_AREA, sd_model_checkpoint="second")
    expected = [by_hand(engine, by_hand(engine, picture, LARGE, 11 + k, options=other), SMALL, 12 + k, options=other)
                for k, picture in enumerate(plain)]
    own = replace(FACE, use_checkpoint=True, checkpoint="second")
    found = [one.image for one in made(engine, request(own, n_iter=2)).images]
    assert [one.tobytes() for one in found] == [one.tobytes() for one in expected]
    assert expected[0].tobytes() != made(engine, request(FACE)).images[0].image.tobytes()
    assert [one.image.tobytes() for one in made(engine, request(n_iter=2)).images] == [one.tobytes() for one in plain]


def test_control_units_of_its_own() -> None:
    own = ControlUnit(module="canny", model="control_canny", weight=0.3)

    def units(**changes: Any) -> tuple[ControlUnit, ...]:
        picture = Image.new("RGB", (64, 64))
        inner = detail._inner(request(control_units=(own,)), replace(FACE, **changes), picture, picture.convert("L"))
        assert inner["detail"] == ()
        return Inpaint(**inner).control_units

    assert units() == ()
    assert units(controlnet_model="Passthrough") == (own,)
    assert units(controlnet_model="control_v11f1e_sd15_tile [a371b31b]", controlnet_weight=0.7,
                 controlnet_guidance_start=0.1, controlnet_guidance_end=0.9) == (
        ControlUnit(module="tile_resample", model="control_v11f1e_sd15_tile [a371b31b]", weight=0.7, guidance_start=0.1,
                    guidance_end=0.9),)
    assert units(controlnet_model="x_openpose", controlnet_module="canny") == (
        ControlUnit(module="canny", model="x_openpose"),)
    for name, module in (("x_openpose", "openpose_hand"), ("control_v11p_sd15_inpaint", "inpaint_only"),
                         ("mystery", "none"), ("control_v11p_sd15_lineart", "lineart")):
        (unit,) = units(controlnet_model=name)
        assert unit.module == module


def test_the_parameters_text_has_the_keys_of_the_extension(engine: Engine) -> None:
    text = made(engine, request(DetailPass(), DetailPass(prompt="x, y", confidence=0.5))).images[0].infotext
    assert ("ADetailer model: Face, ADetailer confidence: 0.3, ADetailer dilate erode: 4, ADetailer mask blur: 4, "
            "ADetailer denoising strength: 0.4, ADetailer inpaint only masked: True, ADetailer inpaint padding: 32, "
            'ADetailer model 2nd: Face, ADetailer prompt 2nd: "x, y", ADetailer confidence 2nd: 0.5') in text


def test_passes_follow_each_other(engine: Engine) -> None:
    first = made(engine, request(FACE)).images[0].image
    once_more = by_hand(engine, by_hand(engine, first, LARGE, 11), SMALL, 12)
    assert made(engine, request(FACE, FACE)).images[0].image.tobytes() == once_more.tobytes()


def test_prompts_of_single_finds_in_their_order(engine: Engine) -> None:
    plain = made(engine, request()).images[0].image
    expected = by_hand(engine, plain, SMALL, 12, prompt="a cat")
    result = made(engine, request(replace(FACE, prompt="[SKIP] [SEP] a cat")))
    assert result.images[0].image.tobytes() == expected.tobytes()
    other = request(replace(FACE, prompt="[SKIP] [SEP] a cat"), options=Options(ad_bbox_sortby="None"))
    expected = by_hand(engine, plain, LARGE, 12, prompt="a cat")
    assert made(engine, other).images[0].image.tobytes() == expected.tobytes()


def test_the_whole_picture_around_a_find(engine: Engine) -> None:
    plain = made(engine, request()).images[0].image
    expected = by_hand(engine, plain, LARGE, 11, only_masked=False)
    result = made(engine, request(replace(FACE, inpaint_only_masked=False, mask_k_largest=1)))
    assert result.images[0].image.tobytes() == expected.tobytes() != plain.tobytes()


def test_what_is_refused_before_anything_is_drawn(engine: Engine) -> None:
    folder = engine.settings.models_dir / "adetailer"
    folder.mkdir(parents=True)
    (folder / "hand.onnx").write_bytes(b"no")
    with pytest.raises(CheckpointError, match=r"hand\.onnx is not an ONNX file"):
        engine.generate(request(replace(FACE, model="hand.onnx")), NullJob())
    for wrong, words in ((replace(FACE, model="thing"), "There is no detector 'thing'"),
                         (replace(FACE, use_sampler=True, sampler="nonsense"), "nonsense")):
        with pytest.raises(InvalidInput, match=words):
            engine.check(request(wrong))
    with pytest.raises(InvalidInput, match="at most, not 5"):
        engine.check(request(*[FACE] * 5))


def test_a_detector_that_fails_leaves_the_picture(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(picture: Image.Image, least: float) -> list[Find]:
        raise CheckpointError("It fails.")

    monkeypatch.setitem(BUILT_IN, "Face", lambda: fails)
    result = engine.generate(request(FACE), NullJob())
    assert result.images[0].image.tobytes() == made(engine, request()).images[0].image.tobytes()
    assert result.warnings == ("The detailer left a picture as it was: It fails.",)


def test_hundreds_of_finds_are_bounded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [Find((k % 60, k % 50, k % 60 + 4, k % 50 + 4), 0.5) for k in range(500)]
    monkeypatch.setitem(BUILT_IN, "Face", lambda: lambda picture, least: many)
    monkeypatch.setattr(detail, "MOST_FINDS", 3)
    stages = Stages()
    result = engine.generate(request(FACE), stages)
    assert result.warnings == ("The detailer found 500 places; 3 of them were painted anew.",)
    assert "Detailer: 3 of 3" in stages.told


class Stages(NullJob):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def stage(self, text: str) -> None:
        self.told.append(text)


def test_every_picture_of_a_batch_has_its_own_seed(engine: Engine) -> None:
    pictures = made(engine, request(FACE, batch_size=2, n_iter=2)).images
    for number in range(4):
        alone = made(engine, request(FACE, seed=11 + number)).images[0].image
        assert abs(np.asarray(pictures[number].image, int) - np.asarray(alone)).max() <= 1


def test_without_finds_the_picture_stays(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILT_IN, "Face", lambda: lambda picture, least: [])
    assert made(engine, request(FACE)).images[0].image.tobytes() == made(engine, request()).images[0].image.tobytes()


def test_after_hires_fix_and_with_other_options(engine: Engine) -> None:
    result = made(engine, request(FACE, enable_hr=True, hr_scale=1.5, options=Options(return_mask=True)))
    assert result.images[0].image.size == (96, 96)


def test_what_is_not_painted_stays(engine: Engine) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    mask = Image.new("L", picture.size)
    mask.paste(255, (0, 0, 32, 64))
    common = {one.name: getattr(request(FACE), one.name) for one in fields(Txt2Img)}
    what = Inpaint(**common, init_images=(picture,), mask=mask, mask_blur_x=0, mask_blur_y=0)
    result = np.asarray(made(engine, what).images[0].image)
    assert (result[:, 32:] == np.asarray(picture)[:, 32:]).all()
    without = np.asarray(made(engine, replace(what, detail=())).images[0].image)
    assert (result[8:24, 8:24] != without[8:24, 8:24]).any()


def test_the_model_stays_loaded_and_other_tabs_work(engine: Engine) -> None:
    picture = Image.new("RGB", (64, 64), (90, 120, 150))
    common = {one.name: getattr(request(FACE), one.name) for one in fields(Txt2Img)}
    made(engine, Img2Img(**common, init_images=(picture,)))
    assert engine.loaded
    assert isinstance(engine.loaded.model, FakeModel)
    assert engine.loaded.model.encoded.count("a crowd") >= 3


class Pressed(NullJob):
    """Somebody presses Interrupt, which stays pressed, or Skip, which is heard once, when a stage has begun."""

    def __init__(self, stop: type[Stopped], at: str) -> None:
        self.stop, self.at, self.pressed = stop, at, False

    def stage(self, text: str) -> None:
        self.pressed = self.pressed or text == self.at

    def check(self) -> None:
        if self.pressed:
            self.pressed = self.stop is Interrupted
            raise self.stop

    def step(self, step: int, total: int, preview: Preview) -> None:
        self.check()


def test_interrupt_keeps_the_picture_as_it_was_before_the_find(engine: Engine) -> None:
    result = engine.generate(request(FACE, n_iter=3), Pressed(Interrupted, "Detailer: 2 of 2"))
    plain = made(engine, request()).images[0].image
    assert [one.image.tobytes() for one in result.images] == [by_hand(engine, plain, LARGE, 11).tobytes()]
    assert (result.interrupted, result.warnings) == (True, ())


def test_a_skipped_find_leaves_no_half_made_face(engine: Engine) -> None:
    result = engine.generate(request(FACE), Pressed(Skipped, "Detailer: 1 of 2"))
    plain = made(engine, request()).images[0].image
    assert [one.image.tobytes() for one in result.images] == [plain.tobytes()]
    assert (result.interrupted, result.warnings) == (False, ())
