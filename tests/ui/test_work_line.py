"""What the line under the canvas says is what comes out."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from typing import Any

import gradio as gr
import numpy as np
import pytest
from fakes import ASTRONAUT
from PIL import Image, ImageDraw

from modules.engine.engine import Engine
from modules.imaging.framing import used_mask
from modules.imaging.mask import SOFT_REACH
from modules.jobs.queue import JobQueue
from modules.request import Img2Img, Inpaint, ResizeMode, SoftInpainting
from modules.request.job_context import NullJob
from modules.ui.canvas.canvas import MaskData
from modules.ui.controls import request_panel
from modules.ui.controls.request_panel import Panel
from modules.ui.controls.work_line import say
from modules.ui.page.header import Header
from modules.ui.tabs import img2img, inpaint

TABS = {"img2img": img2img, "inpaint": inpaint}


@pytest.fixture
def values(engine: Engine, queue: JobQueue) -> dict[str, dict[str, Any]]:
    """What the controls of the tabs begin with, by tab and name, with few steps."""
    with gr.Blocks():
        header, _ = Header.build(engine, queue)
        panels = {name: tab.build(header, Panel(name, engine.settings), gr.BrowserState("")).panel
                  for name, tab in TABS.items()}
    return {name: {item: widget.value for item, widget in panel.widgets.items()} | {"steps": 2}
            for name, panel in panels.items()}


def photograph(size: tuple[int, int]) -> Image.Image:
    return Image.open(ASTRONAUT).resize(size)


def painted(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> Image.Image:
    mask = Image.new("L", size)
    for box in boxes:
        ImageDraw.Draw(mask).ellipse(box, fill=255)
    return mask


def crops(html: str) -> dict[str, Any]:
    found = re.search(r'data-crops="(.*?)"', html)
    assert found is not None
    return json.loads(unescape(found[1]))


def test_a_photograph_comes_back_as_it_was_but_for_the_painted_part(values: dict[str, Any], engine: Engine) -> None:
    picture, mask = photograph((2048, 1365)), painted((2048, 1365), (800, 500, 1000, 640))
    request = request_panel.to_inpaint(values["inpaint"] | {"seed": 3}, MaskData(picture, mask), engine.options)
    said = say(request)
    (box,) = said.crops
    width, height = box[2] - box[0], box[3] - box[1]
    assert said.sentence == (f"Works on {width} x {height} around the mask, at {request.width} x {request.height}; the "
                             "rest stays.")
    assert said.warnings == []
    assert crops(said.html()) == {"boxes": [list(box)], "byHand": False}
    made = engine.generate(request, NullJob()).images[0]
    assert made.image.size == picture.size
    changed = (np.asarray(made.image) != np.asarray(picture)).any(axis=-1)
    assert changed.any()
    assert not changed[np.asarray(used_mask(request)) == 0].any()
    rows, columns = np.nonzero(changed)
    assert box[0] <= columns.min() <= columns.max() < box[2]
    assert box[1] <= rows.min() <= rows.max() < box[3]
    assert f"Size: {request.width}x{request.height}" in made.infotext


@pytest.mark.parametrize("size", [(2048, 1365), (512, 512), (500, 400), (90, 60)])
def test_the_size_that_is_said_comes_out_of_the_whole_picture(values: dict[str, Any], engine: Engine,
                                                              size: tuple[int, int]) -> None:
    mask = painted(size, (size[0] // 3, size[1] // 3, size[0] // 2, size[1] // 2))
    chosen = values["inpaint"] | {"only_masked": "Whole picture"}
    request = request_panel.to_inpaint(chosen, MaskData(photograph(size), mask), engine.options)
    image = engine.generate(request, NullJob()).images[0].image
    said = say(request)
    assert f"{image.width} x {image.height}" in said.sentence
    assert (said.crops, said.warnings) == ((), [])
    assert image.width / image.height == pytest.approx(size[0] / size[1], rel=0.02)
    if 0.5 < size[0] * size[1] / 512**2 < 1.25:
        assert image.size == size


def test_just_resize_squashes_only_where_it_was_chosen_and_that_is_said(values: dict[str, Any],
                                                                        engine: Engine) -> None:
    picture = MaskData(photograph((1024, 512)), painted((1024, 512), (400, 200, 500, 300)))
    chosen = values["inpaint"] | {"only_masked": "Whole picture", "resize_mode": "Just resize"}
    request = request_panel.to_inpaint(chosen, picture, engine.options)
    assert (request.width, request.height, request.resize_mode) == (512, 512, ResizeMode.JUST_RESIZE)
    ((sentence, ((label, widget, value),)),) = say(request).warnings
    assert sentence == "Just resize squashes the picture."
    helped = request_panel.to_inpaint(chosen | {widget: value}, picture, engine.options)
    assert label == value == "Keep proportions"
    assert say(helped).warnings == []
    assert say(replace(request, resize_mode=ResizeMode.CROP_AND_RESIZE)).warnings[0][0].startswith("Crop and resize")
    assert say(replace(request, resize_mode=ResizeMode.RESIZE_AND_FILL)).warnings[0][0].startswith("Resize and fill")


def test_img2img_keeps_the_proportions_too(values: dict[str, Any], engine: Engine) -> None:
    request = request_panel.to_img2img(values["img2img"], MaskData(photograph((1365, 2048))), engine.options)
    assert isinstance(request, Img2Img)
    image = engine.generate(request, NullJob()).images[0].image
    assert image.size == (427, 640)
    assert say(request).sentence == "Works on the whole picture; 427 x 640 comes out."


def test_a_frame_set_by_hand_is_what_is_worked_on(values: dict[str, Any], engine: Engine) -> None:
    picture = MaskData(photograph((2048, 1365)), painted((2048, 1365), (800, 500, 1000, 640)))
    chosen = values["inpaint"] | {"only_masked_frame": "768x768+500+300"}
    request = request_panel.to_inpaint(chosen, picture, engine.options)
    said = say(request)
    assert said.crops == ((500, 300, 1268, 1068),)
    assert said.by_hand
    assert 'data-widget="only_masked_frame" data-value="&quot;&quot;"' in said.html()
    assert (request.width, request.height) == (512, 512)
    assert "Masked area frame: 768x768+500+300" in engine.generate(request, NullJob()).images[0].infotext


def test_without_a_mask_it_says_what_to_do(values: dict[str, Any], engine: Engine) -> None:
    for size in ((2048, 1365), (512, 512)):
        request = request_panel.to_inpaint(values["inpaint"], MaskData(photograph(size)), engine.options)
        assert isinstance(request, Inpaint)
        assert say(request).sentence == "Paint over the part that should change."


def test_a_blur_too_wide_is_told_before_and_after_and_one_click_mends_it(values: dict[str, Any],
                                                                         engine: Engine) -> None:
    mask = Image.new("L", (512, 512))
    mask.paste(255, (200, 200, 209, 209))
    chosen, picture = values["inpaint"] | {"mask_blur": 16}, MaskData(photograph((512, 512)), mask)
    request = request_panel.to_inpaint(chosen, picture, engine.options)
    ((sentence, ((_, widget, value),)),) = say(request).warnings
    assert "hides all that is painted" in sentence
    result = engine.generate(request, NullJob())
    assert sentence in result.warnings
    helped = request_panel.to_inpaint(chosen | {widget: value}, picture, engine.options)
    assert say(helped).warnings == []
    assert engine.generate(helped, NullJob()).warnings == ()


@pytest.mark.parametrize("soft", [SoftInpainting(), SoftInpainting(threshold=0, contrast=8),
                                  SoftInpainting(threshold=0.01, influence=1)])
@pytest.mark.parametrize("box", [(200, 200, 209, 209), (0, 100, 60, 160), (123, 60, 133, 200)])
@pytest.mark.parametrize("only_masked", [False, True])
def test_soft_inpainting_moves_what_is_said_and_nothing_beyond(
        engine: Engine, soft: SoftInpainting, box: tuple[int, int, int, int], only_masked: bool) -> None:
    picture, mask = photograph((256, 256)), Image.new("L", (256, 256))
    mask.paste(255, box)
    request = Inpaint(prompt="a ring", init_images=(picture,), mask=mask, mask_blur_x=0, mask_blur_y=0, width=256,
                      height=256, steps=4, seed=3, soft=soft, denoising_strength=1.0, only_masked=only_masked,
                      only_masked_padding=64)
    changed = (np.asarray(engine.generate(request, NullJob()).images[0].image) != np.asarray(picture)).any(axis=-1)
    found = re.fullmatch(r"Soft inpainting may change up to (\d+) pixels around the mask\.",
                         say(request).warnings[0][0])
    assert found is not None
    reach = int(found[1])
    assert reach == SOFT_REACH if not only_masked else reach <= SOFT_REACH
    far = np.ones((256, 256), bool)
    far[max(box[1] - reach, 0):box[3] + reach, max(box[0] - reach, 0):box[2] + reach] = False
    assert changed[box[1]:box[3], box[0]:box[2]].any()
    assert not changed[far].any()


SPOTS = (100, 100, 160, 150), (1700, 200, 1760, 260), (900, 1200, 960, 1260)


def test_spots_far_apart_are_worked_on_by_themselves(values: dict[str, Any], engine: Engine) -> None:
    picture, mask = photograph((2048, 1365)), painted((2048, 1365), *SPOTS)
    request = request_panel.to_inpaint(values["inpaint"] | {"seed": 7}, MaskData(picture, mask), engine.options)
    assert request.each_spot
    said = say(request)
    assert said.sentence == "Works on 3 spots, each by itself, at 512 x 512; the rest stays."
    assert len(said.crops) == 3
    job = Counting()
    (made,) = engine.generate(request, job).images
    assert job.seen == [(0, 3), (1, 3), (2, 3)]
    assert made.seed == 7
    assert "Each spot: True" in made.infotext
    changed = (np.asarray(made.image) != np.asarray(picture)).any(axis=-1)
    assert not changed[np.asarray(used_mask(request)) == 0].any()
    for spot, box in enumerate(SPOTS):
        inside = changed[box[1] + 15:box[3] - 15, box[0] + 15:box[2] - 15]
        assert inside.mean() > 0.9, f"spot {spot + 1}"

    by_hand = picture  # the same passes, one request each
    for spot, box in enumerate(sorted(SPOTS, key=lambda box: box[1])):
        alone = replace(request, each_spot=False, seed=7 + spot, mask=painted((2048, 1365), box),
                        init_images=(by_hand,))
        by_hand = engine.generate(alone, NullJob()).images[0].image
    assert np.array_equal(np.asarray(made.image), np.asarray(by_hand))


class Counting(NullJob):
    """A job that keeps what it is told of batches."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def batches(self, done: int, total: int) -> None:
        self.seen.append((done, total))


def test_near_spots_share_one_part_and_a_prompt_for_each_parts_them(values: dict[str, Any], engine: Engine) -> None:
    picture = MaskData(photograph((2048, 1365)), painted((2048, 1365), (100, 100, 160, 150), (260, 100, 320, 150)))
    together = request_panel.to_inpaint(values["inpaint"], picture, engine.options)
    assert (together.only_masked, together.each_spot) == (True, False)
    words = "oil painting\nspot 1: a red apple\nSpot 2 : a pear"
    apart = request_panel.to_inpaint(values["inpaint"] | {"prompt": words}, picture, engine.options)
    assert apart.each_spot
    model = engine.load(apart.options, NullJob())
    model.encoded.clear()
    (made,) = engine.generate(apart, NullJob()).images
    assert [text for text in model.encoded if text] == ["a red apple, oil painting", "a pear, oil painting"]
    assert made.infotext.startswith(words)
    two = replace(apart, prompt="spot 3: a plum")
    assert "The prompt names spot 3; the mask has 2." in engine.generate(two, NullJob()).warnings


def test_batches_of_spots_have_seeds_of_their_own(values: dict[str, Any], engine: Engine) -> None:
    picture = MaskData(photograph((1024, 1024)), painted((1024, 1024), (50, 50, 90, 90), (900, 900, 960, 960)))
    chosen = values["inpaint"] | {"only_masked": "Each spot", "seed": 5, "n_iter": 2, "batch_size": 2}
    made = engine.generate(request_panel.to_inpaint(chosen, picture, engine.options), NullJob()).images
    assert [one.seed for one in made] == [5, 6, 7, 8]
    single = request_panel.to_inpaint(chosen | {"seed": 8, "n_iter": 1, "batch_size": 1}, picture, engine.options)
    assert np.array_equal(np.asarray(engine.generate(single, NullJob()).images[0].image), np.asarray(made[3].image))


def test_too_many_spots_are_painted_together(engine: Engine) -> None:
    boxes = [(x, y, x + 5, y + 5) for x in range(0, 120, 20) for y in range(0, 120, 20)]
    request = Inpaint(init_images=(photograph((128, 128)),), mask=painted((128, 128), *boxes), mask_blur_x=0,
                      mask_blur_y=0, width=128, height=128, steps=1, only_masked=True, each_spot=True)
    assert len(say(request).crops) == 1
    assert "The mask has 36 spots; more than 32 are painted together." in engine.generate(request, NullJob()).warnings
