"""The sizes that a checkpoint draws a picture or a part of it in, and the part that Only masked works on."""

from __future__ import annotations

from math import erf, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from modules.errors import InvalidInput
from modules.imaging.framing import blur_warning, part_size, used_mask, whole_size, with_proportions, with_suitable_area
from modules.imaging.framing import working_region as region_of
from modules.request import Inpaint

SIDES = st.integers(64, 6000)
NATIVE = 512 * 512


def masked(size: tuple[int, int], box: tuple[int, int, int, int], **changes: object) -> Inpaint:
    """A request for a black picture of `size`, painted in `box`."""
    mask = Image.new("L", size)
    mask.paste(255, box)
    return Inpaint(**{"init_images": (Image.new("RGB", size),), "mask": mask, "mask_blur_x": 0, "mask_blur_y": 0}
                   | changes)


@given(SIDES, SIDES)
def test_the_whole_picture_keeps_its_proportions(width: int, height: int) -> None:
    drawn = whole_size((width, height), NATIVE)
    if NATIVE / 2 <= width * height <= NATIVE * 1.25:
        assert drawn == (width, height)
        return
    short, long = sorted(drawn)
    assert long % 64 == 0
    assert abs(short - long * min(width, height) / max(width, height)) <= 0.5 or short == 8
    assert (drawn[0] >= drawn[1]) == (width >= height) or drawn[0] == drawn[1]
    if max(width, height) <= 4 * min(width, height):
        assert 0.75 <= drawn[0] * drawn[1] / NATIVE <= 1.3
    assert long <= 2048


@pytest.mark.parametrize(("picture", "native", "drawn"), [
    ((2048, 1365), 512, (640, 427)), ((1365, 2048), 512, (427, 640)), ((4000, 4000), 512, (512, 512)),
    ((2048, 1365), 128, (160, 107)), ((300, 200), 512, (640, 427)), ((500, 333), 512, (500, 333))])
def test_sizes_of_known_pictures(picture: tuple[int, int], native: int, drawn: tuple[int, int]) -> None:
    assert whole_size(picture, native * native) == drawn


@given(SIDES, SIDES)
def test_a_part_is_drawn_in_multiples_of_64_of_about_the_checkpoints_area(width: int, height: int) -> None:
    drawn = part_size((width, height), NATIVE)
    assert drawn[0] % 64 == drawn[1] % 64 == 0
    assert 0.8 <= drawn[0] * drawn[1] / NATIVE <= 1.25
    wanted = min(max(width / height, 0.5), 2)
    assert abs(np.log(drawn[0] / drawn[1] / wanted)) < 0.2


def test_a_large_picture_is_worked_on_around_its_mask_and_a_suitable_one_as_a_whole() -> None:
    request = with_suitable_area(masked((2048, 1365), (600, 400, 900, 500)))
    assert request.only_masked
    assert not with_suitable_area(masked((640, 427), (60, 40, 90, 50))).only_masked
    assert not with_suitable_area(masked((2048, 1365), (0, 0, 0, 0))).only_masked
    drawn = with_proportions(request)
    region = region_of(drawn, used_mask(drawn))
    assert region is not None
    left, top, right, bottom = region.box
    assert (left, right) == (568, 932)
    assert top <= 368 < 532 <= bottom
    assert region.size[0] / region.size[1] == pytest.approx(drawn.width / drawn.height, rel=0.01)


def test_a_frame_set_by_hand_replaces_the_padding_and_holds_the_mask() -> None:
    request = masked((2048, 1365), (600, 400, 900, 500), only_masked=True, only_masked_frame="512x512+500+100",
                     width=512, height=512)
    region = region_of(request, used_mask(request))
    assert region is not None
    assert region.box == (500, 100, 1012, 612)
    outside = masked((2048, 1365), (600, 400, 900, 500), only_masked=True, only_masked_frame="300x100+0+0")
    region = region_of(outside, used_mask(outside))
    assert region is not None
    assert region.box[0] == 0
    assert region.box[2] >= 900
    assert region.box[3] >= 500


@pytest.mark.parametrize("text", ["512x512", "a box", "0x5+1+1", "5x0+1+1", "1e9x1+1+1", "-5x5+1+1", "5x5+-1+1"])
def test_a_frame_that_is_no_box_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="box like"):
        masked((64, 64), (0, 0, 9, 9), only_masked_frame=text)


def test_a_blur_that_hides_the_mask_is_told_and_the_fitting_one_shows_it() -> None:
    hidden = blur_warning(masked((256, 256), (100, 100, 109, 109), mask_blur_x=16, mask_blur_y=16))
    assert hidden is not None
    sentence, fitting = hidden
    assert sentence == f"The mask blur of 16 hides all that is painted; {fitting} fits."
    # A square of 9 pixels, blurred by a Gaussian, keeps erf(9 / (2 sqrt(2) sigma))^2 of its middle.
    kept = [erf(9 / (2 * sqrt(2) * sigma)) ** 2 for sigma in (fitting, fitting + 1)]
    assert kept[0] > 0.88 > kept[1]
    fits = masked((256, 256), (100, 100, 109, 109), mask_blur_x=fitting, mask_blur_y=fitting)
    assert blur_warning(fits) is None
    assert np.asarray(used_mask(fits)).max() >= 230


def test_a_blur_that_hides_one_of_two_spots_is_told_and_specks_are_not() -> None:
    request = masked((256, 256), (100, 100, 200, 200), mask_blur_x=16, mask_blur_y=16)
    assert blur_warning(request) is None
    request.mask.paste(255, (10, 10, 13, 13))
    assert blur_warning(request) is None, "a speck beside a spot"
    request.mask.paste(255, (20, 20, 29, 29))
    found = blur_warning(request)
    assert found is not None
    assert "hides 1 of 2 painted spots" in found[0]
    assert blur_warning(masked((64, 64), (0, 0, 0, 0), mask_blur_x=16, mask_blur_y=16)) is None
