"""The detailer with a detector that finds what it is told to, and OpenCV's face detector on a photograph."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from fakes import ASTRONAUT, FakeModel, fake_engine
from PIL import Image

from modules.engine.engine import Engine
from modules.errors import Interrupted, Skipped, Stopped
from modules.imaging import haar
from modules.request import Img2Img, Inpaint, MaskedContent, ScriptCall, Txt2Img
from modules.request.job_context import NullJob, Preview
from modules.request.options import Options
from modules.request.result import Result
from modules.settings import Settings
from modules.text import infotext

BOXES = [(8, 8, 24, 24), (40, 32, 64, 56)]
SMALL, LARGE = BOXES


@pytest.fixture
def engine(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine whose detailer finds BOXES, and whose pictures are of middling colours."""
    engine = fake_engine(settings, lambda name: FakeModel(name=name, mean=0.0, std=0.3, shift=0.3))
    detectors = importlib.import_module("extensions.detailer.detectors")
    monkeypatch.setitem(detectors.DETECTORS, "Face", lambda picture, settings: BOXES)
    return engine


def request(*arguments: Any, **changes: Any) -> Txt2Img:
    values = {"prompt": "a crowd", "negative_prompt": "dull", "width": 64, "height": 64, "steps": 3, "seed": 11,
              "cfg_scale": 1.5, "sampler": "Euler",
              "always_on": (ScriptCall("Detailer", arguments),) if arguments else ()}
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
    result = made(engine, request("Face"))
    assert result.images[0].image.tobytes() == expected.tobytes() != plain.tobytes()
    assert len(result.images) == 1
    assert result.images[0].seed == 11


def test_own_prompt_strength_padding_and_count(engine: Engine) -> None:
    plain = made(engine, request()).images[0].image
    expected = by_hand(engine, plain, LARGE, 11, prompt="a face of a crowd", negative_prompt="dull",
                       denoising_strength=0.7, only_masked_padding=8, mask_blur_x=2, mask_blur_y=2)
    result = made(engine, request("Face", "a face of [PROMPT]", "", 0.7, 8, 4, 2, 1))
    assert result.images[0].image.tobytes() == expected.tobytes() != plain.tobytes()
    parameters = infotext.parse(result.images[0].infotext)
    found = {key: value for key, value in parameters.items() if key.startswith("Detailer")}
    assert found == {"Detailer enabled": "True", "Detailer prompt": "a face of [PROMPT]",
                     "Detailer denoising strength": "0.7", "Detailer padding": "8", "Detailer mask blur": "2",
                     "Detailer most finds": "1"}
    again = replace(request(), always_on=engine.scripts.recall_always_on(parameters))
    assert made(engine, again).images[0].image.tobytes() == expected.tobytes()


def test_every_picture_of_a_batch_has_its_own_seed(engine: Engine) -> None:
    pictures = made(engine, request("Face", batch_size=2, n_iter=2)).images
    for number in range(4):
        alone = made(engine, request("Face", seed=11 + number)).images[0].image
        assert abs(np.asarray(pictures[number].image, int) - np.asarray(alone)).max() <= 1


def test_without_finds_the_picture_stays(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    detectors = importlib.import_module("extensions.detailer.detectors")
    monkeypatch.setitem(detectors.DETECTORS, "Face", lambda picture, settings: [])
    assert made(engine, request("Face")).images[0].image.tobytes() == made(engine, request()).images[0].image.tobytes()


def test_after_hires_fix_and_with_other_options(engine: Engine) -> None:
    result = made(engine, request("Face", enable_hr=True, hr_scale=1.5, options=Options(return_mask=True)))
    assert result.images[0].image.size == (96, 96)


def test_what_is_not_painted_stays(engine: Engine) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    mask = Image.new("L", picture.size)
    mask.paste(255, (0, 0, 32, 64))
    common = {one.name: getattr(request("Face"), one.name) for one in fields(Txt2Img)}
    what = Inpaint(**common, init_images=(picture,), mask=mask, mask_blur_x=0, mask_blur_y=0)
    result = np.asarray(made(engine, what).images[0].image)
    assert (result[:, 32:] == np.asarray(picture)[:, 32:]).all()
    without = np.asarray(made(engine, replace(what, always_on=())).images[0].image)
    assert (result[8:24, 8:24] != without[8:24, 8:24]).any()


def test_the_model_stays_loaded_and_other_tabs_work(engine: Engine) -> None:
    picture = Image.new("RGB", (64, 64), (90, 120, 150))
    common = {one.name: getattr(request("Face"), one.name) for one in fields(Txt2Img)}
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
    result = engine.generate(request("Face", n_iter=3), Pressed(Interrupted, "Detailer: 2 of 2"))
    plain = made(engine, request()).images[0].image
    assert [one.image.tobytes() for one in result.images] == [by_hand(engine, plain, LARGE, 11).tobytes()]
    assert (result.interrupted, result.warnings) == (True, ())


def test_a_skipped_find_leaves_no_half_made_face(engine: Engine) -> None:
    result = engine.generate(request("Face"), Pressed(Skipped, "Detailer: 1 of 2"))
    plain = made(engine, request()).images[0].image
    assert [one.image.tobytes() for one in result.images] == [plain.tobytes()]
    assert (result.interrupted, result.warnings) == (False, ())


# --- the detector

USUAL: Mapping[str, Any] = {"neighbours": 5, "smallest": 5}


def test_the_face_detector_finds_the_astronaut() -> None:
    from extensions.detailer.detectors import DETECTORS

    picture = Image.open(ASTRONAUT)
    boxes = DETECTORS["Face"](picture, USUAL)
    face = next(box for box in boxes if box[0] < 225 < box[2] and box[1] < 115 < box[3])
    assert 60 < face[2] - face[0] < 200
    assert DETECTORS["Face"](picture, {"neighbours": 5, "smallest": 50}) == []
    assert DETECTORS["Face"](Image.new("RGB", (64, 64)), USUAL) == []


def test_an_opencv_without_detectors_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = fake_engine(settings)
    monkeypatch.delattr(haar.cv2, "CascadeClassifier")
    result = engine.generate(request("Face"), NullJob())
    assert len(result.images) == 1
    assert result.warnings[0].startswith("The extension detailer was left out: filter_image: This build of OpenCV")
