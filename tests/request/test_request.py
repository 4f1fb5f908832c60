"""Requests check themselves when they are made."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from PIL import Image

from modules.errors import InvalidInput
from modules.request import MAX_SEED, Img2Img, Inpaint, SoftInpainting, Txt2Img
from modules.request.fields import Declared, declared

PICTURE = Image.new("RGB", (8, 8))


@pytest.mark.parametrize(("field", "value"), [
    ("width", 0), ("height", -8), ("steps", 0), ("batch_size", 0), ("n_iter", 0), ("seed", -2), ("seed", MAX_SEED + 1),
    ("subseed", -2), ("subseed_strength", 1.1), ("subseed_strength", math.nan), ("cfg_scale", math.inf),
    ("eta", -0.1), ("seed_resize_from_w", -1)])
def test_a_value_out_of_range_is_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(InvalidInput) as caught:
        Txt2Img(**{field: value})
    assert caught.value.field == field
    assert caught.value.status == 422


@pytest.mark.parametrize(("field", "value"), [
    ("denoising_strength", 1.01), ("hr_scale", 0), ("hr_second_pass_steps", -1), ("hr_resize_x", -1)])
def test_hires_fix_is_checked_when_it_is_on(field: str, value: float) -> None:
    Txt2Img(**{field: value})
    with pytest.raises(InvalidInput) as caught:
        Txt2Img(**{"enable_hr": True, field: value})
    assert caught.value.field == field


def test_a_refiner_is_checked_when_there_is_one() -> None:
    Txt2Img(refiner_switch_at=1.5)
    with pytest.raises(InvalidInput, match=r"refiner_switch_at must be between 0\.0 and 1\.0"):
        Txt2Img(refiner_switch_at=1.5, refiner_checkpoint="other")


@pytest.mark.parametrize(("field", "value"), [
    ("denoising_strength", -0.1), ("denoising_strength", math.nan), ("initial_noise_multiplier", -1.0),
    ("mask_blur_x", -1), ("mask_blur_y", 513), ("only_masked_padding", 5000)])
def test_picture_and_mask_fields_are_checked_too(field: str, value: float) -> None:
    with pytest.raises(InvalidInput) as caught:
        Inpaint(**{"init_images": (PICTURE,), "mask": PICTURE, field: value})
    assert caught.value.field == field


def test_img2img_needs_a_picture() -> None:
    with pytest.raises(InvalidInput, match="picture"):
        Img2Img()


def test_soft_inpainting_divides_by_its_detail() -> None:
    with pytest.raises(InvalidInput, match="detail must be more than 0"):
        SoftInpainting(detail=0)


@pytest.mark.parametrize("item", [one for one in declared(Inpaint) if one.low is not None], ids=lambda one: one.name)
def test_the_ends_of_the_ranges_are_allowed_and_no_more(item: Declared) -> None:
    fixed: dict[str, Any] = {"init_images": (PICTURE,), "mask": PICTURE, "enable_hr": True, "refiner_checkpoint": "x"}
    ends = [item.low, 10**9 if item.high is None else item.high]
    for end in ends:
        assert getattr(Inpaint(**fixed | {item.name: end}), item.name) == end
    for beyond in [item.low - 1, math.inf if item.high is None else item.high + 1]:
        with pytest.raises(InvalidInput) as caught:
            Inpaint(**fixed | {item.name: beyond})
        assert caught.value.field == item.name


def test_ranges_that_nothing_uses_are_not_checked() -> None:
    assert Txt2Img(denoising_strength=7, hr_scale=0, refiner_switch_at=9).hr_scale == 0
    assert Txt2Img(eta=None, cfg_scale=-5).eta is None


def test_a_change_is_checked_as_well() -> None:
    request = Txt2Img()
    with pytest.raises(InvalidInput):
        dataclasses.replace(request, steps=0)
    assert dataclasses.replace(request, steps=5) == Txt2Img(steps=5)
