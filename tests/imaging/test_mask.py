"""The mask in pixels: modes, blur, crop regions, against formulas written here."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from modules.imaging.mask import blur, crop_region, prepare, to_luminance


def dot(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> Image.Image:
    """A black L mask with white boxes (left, top, right, bottom)."""
    mask = Image.new("L", size)
    for box in boxes:
        mask.paste(255, box)
    return mask


@pytest.mark.parametrize("sigma", [1, 4, 9])
def test_blur_is_a_gaussian_of_two_and_a_half_sigmas(sigma: int) -> None:
    """Along x only: the taps within int(2.5 sigma + 0.5), normalised to 1, mirrored at the border without its pixel."""
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (3, 80)).astype(np.uint8)
    reach = int(2.5 * sigma + 0.5)
    taps = np.exp(-np.arange(-reach, reach + 1) ** 2 / (2 * sigma**2))
    padded = np.pad(pixels.astype(float), ((0, 0), (reach, reach)), mode="reflect")
    expected = np.stack([np.convolve(row, taps / taps.sum(), mode="valid") for row in padded])
    ours = np.asarray(blur(Image.fromarray(pixels), sigma, 0), float)
    assert np.abs(ours - expected).max() <= 2.5  # OpenCV's taps for bytes have eight bits


@pytest.mark.parametrize(("sigma", "reach"), [(1, 3), (2, 5), (4, 10)])
def test_blur_reaches_two_and_a_half_sigmas_and_no_further(sigma: int, reach: int) -> None:
    line = np.asarray(blur(dot((61, 3), (30, 0, 31, 3)), sigma, 0))[1]
    assert np.flatnonzero(line).tolist() == list(range(30 - reach, 31 + reach))


def test_blur_goes_along_each_axis_by_its_own_sigma() -> None:
    mask = dot((41, 41), (20, 20, 21, 21))
    across, down = np.asarray(blur(mask, 2, 0)), np.asarray(blur(mask, 0, 2))
    assert across[20].max() > 0
    assert not across[:20].any()
    assert (down == across.T).all()
    assert blur(mask, 0, 0).tobytes() == mask.tobytes()


def test_an_opaque_mask_gives_its_luminance_unrounded() -> None:
    colours = Image.new("RGB", (1, 1), (10, 200, 30))
    assert to_luminance(colours, hard=True).getpixel((0, 0)) == round(0.299 * 10 + 0.587 * 200 + 0.114 * 30)
    assert to_luminance(Image.new("L", (1, 1), 77), hard=True).getpixel((0, 0)) == 77
    assert to_luminance(Image.new("RGBA", (1, 1), (77, 77, 77, 255)), hard=True).getpixel((0, 0)) == 77


@pytest.mark.parametrize(("alpha", "hard", "expected"), [(0, True, 0), (128, True, 0), (129, True, 255),
                                                         (128, False, 128), (60, False, 60)])
def test_a_transparent_mask_gives_its_alpha(alpha: int, hard: bool, expected: int) -> None:
    mask = Image.new("RGBA", (2, 1), (255, 255, 255, alpha))
    assert to_luminance(mask, hard=hard).getpixel((0, 0)) == expected


def test_invert_comes_before_blur() -> None:
    """Inverted first, an empty mask is full and its blur does nothing; the other way round, too; a dot tells."""
    mask = dot((31, 31), (15, 15, 16, 16))
    ours = prepare(mask, invert=True, blur_x=3, blur_y=3, hard=True)
    inverted = Image.fromarray(255 - np.asarray(mask))
    assert ours.tobytes() == blur(inverted, 3, 3).tobytes()
    assert ours.getpixel((0, 0)) == 255


REGIONS = [  # picture, box, padding, working size, expected (by hand, from WebUI's expand_crop_region)
    ((100, 100), (40, 40, 60, 60), 0, (64, 64), (40, 40, 60, 60)),
    ((100, 100), (40, 40, 60, 60), 8, (64, 64), (32, 32, 68, 68)),
    ((100, 100), (40, 45, 60, 55), 0, (64, 64), (40, 40, 60, 60)),  # 10 more rows, half before
    ((100, 100), (40, 45, 60, 54), 0, (64, 64), (40, 40, 60, 60)),  # 11 more: 5 before, 6 after
    ((100, 100), (45, 40, 55, 60), 0, (128, 64), (30, 40, 70, 60)),  # twice as wide as high
    ((100, 100), (90, 40, 100, 60), 0, (64, 64), (80, 40, 100, 60)),  # shifted back in at the right
    ((100, 100), (0, 40, 10, 60), 0, (64, 64), (0, 40, 20, 60)),  # at the left
    ((100, 100), (40, 0, 60, 10), 0, (64, 64), (40, 0, 60, 20)),  # at the top
    ((100, 100), (40, 92, 60, 100), 4, (64, 64), (36, 72, 64, 100)),  # at the bottom, padding cut there
    ((100, 20), (10, 0, 90, 20), 0, (64, 64), (10, 0, 90, 20)),  # cannot grow: all the rows that there are
    ((20, 100), (0, 10, 20, 90), 32, (64, 64), (0, 0, 20, 100)),
    ((1, 1), (0, 0, 1, 1), 32, (512, 512), (0, 0, 1, 1)),
]


@pytest.mark.parametrize(("size", "box", "padding", "working", "expected"), REGIONS)
def test_crop_region(size: tuple[int, int], box: tuple[int, int, int, int], padding: int, working: tuple[int, int],
                     expected: tuple[int, int, int, int]) -> None:
    region = crop_region(dot(size, box), padding, working)
    assert region is not None
    assert region.box == expected
    assert region.size == (expected[2] - expected[0], expected[3] - expected[1])


def test_an_empty_mask_has_no_region() -> None:
    assert crop_region(dot((10, 10)), 32, (64, 64)) is None


def test_any_grey_belongs_to_the_mask() -> None:
    mask = Image.new("L", (50, 50))
    mask.putpixel((30, 20), 1)
    region = crop_region(mask, 0, (64, 64))
    assert region is not None
    assert region.box == (30, 20, 31, 21)


@given(st.data())
def test_a_region_holds_the_mask_and_has_the_shape_when_there_is_room(data: st.DataObject) -> None:
    width, height = data.draw(st.integers(1, 200)), data.draw(st.integers(1, 200))
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    padding, working = data.draw(st.integers(0, 300)), (data.draw(st.integers(1, 99)), data.draw(st.integers(1, 99)))
    region = crop_region(dot((width, height), (left, top, right, bottom)), padding, working)
    assert region is not None
    x0, y0, x1, y1 = region.box
    assert 0 <= x0 <= max(left - padding, 0)
    assert min(right + padding, width) <= x1 <= width
    assert 0 <= y0 <= max(top - padding, 0)
    assert min(bottom + padding, height) <= y1 <= height
    w, h = region.size
    if w < width and h < height:  # neither side had to be cut: the aspect is right to a pixel
        assert abs(w * working[1] / working[0] - h) <= max(1, working[1] / working[0])
