"""A map at the size of the hint, and the picture that it is made of."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from modules.annotate.hint import Fit, fitted, hint_size, resized, shown
from modules.annotate.scale import pixel_perfect
from modules.annotate.source import mask_pixels, picture_of, rgb_pixels
from modules.errors import InvalidInput


def circle(size: int, width: int = 1) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size / 2
    away = np.hypot(y, x)
    ring = ndimage.binary_erosion(away < size / 3) ^ (away < size / 3) if width == 1 else abs(away - size / 3) < width
    return np.repeat((ring * 255).astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.mark.parametrize("size", [(90, 90), (128, 128), (200, 144)])
def test_a_thin_line_stays_one_thin_line(size: tuple[int, int]) -> None:
    line = resized(circle(100), size)[:, :, 0]
    assert line.shape == size[::-1]
    assert set(np.unique(line)) == {0, 255}
    squares = np.lib.stride_tricks.sliding_window_view(line > 0, (2, 2)).all(axis=(2, 3))
    assert not squares.any()
    _, pieces = ndimage.label(line > 0, np.ones((3, 3)))
    assert pieces == 1
    y, x = np.nonzero(line)
    away = np.hypot(x * 100 / size[0] - 50, y * 100 / size[1] - 50)
    assert abs(away - 100 / 3).max() < 2.5


def test_a_thick_shape_stays_black_and_white_and_thick() -> None:
    found = resized(circle(100, 8), (150, 150))
    assert set(np.unique(found)) == {0, 255}
    expected = circle(150, 12)
    assert ((found > 0) & (expected > 0)).sum() / ((found > 0) | (expected > 0)).sum() > 0.93


def test_segments_keep_their_colours() -> None:
    colours = np.array([[120, 120, 120], [180, 5, 9], [6, 230, 230]], np.uint8)
    segments = colours[np.random.default_rng(0).integers(0, 3, (20, 30))]
    found = resized(segments, (77, 41)).reshape(-1, 3)
    assert {tuple(colour) for colour in found} == {tuple(colour) for colour in colours}


def test_a_photograph_averages_when_it_shrinks() -> None:
    photograph = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    means = photograph.reshape(30, 2, 40, 2, 3).mean(axis=(1, 3))
    assert abs(resized(photograph, (40, 30)) - means).max() <= 0.5


def test_crop_takes_the_middle() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 100, 3), dtype=np.uint8)
    np.testing.assert_array_equal(fitted(picture, (40, 40), Fit.CROP_AND_RESIZE), picture[:, 30:70])


def test_fill_has_the_border_s_median_and_a_mask_that_paints() -> None:
    picture = np.full((40, 40, 4), (9, 80, 200, 0), np.uint8)
    picture[10:30, 10:30, :3] = np.random.default_rng(0).integers(0, 256, (20, 20, 3))
    found = fitted(picture.astype(np.float32), (80, 40), Fit.RESIZE_AND_FILL)
    assert found.shape == (40, 80, 4)
    np.testing.assert_array_equal(found[:, 20:60], picture)
    bands = np.concatenate([found[:, :20], found[:, 60:]]).reshape(-1, 4)
    assert (bands == (9, 80, 200, 255)).all()


def test_just_resize_stretches() -> None:
    picture = np.zeros((10, 10, 3), np.uint8)
    picture[:, 5:] = (200, 100, 50)
    found = fitted(picture, (40, 20), Fit.JUST_RESIZE)
    assert found.shape == (20, 40, 3)
    assert not found[:, :12].any()
    assert (found[:, 28:] == (200, 100, 50)).all()


def test_the_mask_is_hard_also_at_the_same_size() -> None:
    picture = np.full((8, 8, 4), 127, np.uint8)
    picture[:4, :, 3] = 128
    found = fitted(picture, (8, 8), Fit.CROP_AND_RESIZE)
    assert (found[:4, :, 3] == 255).all()
    assert not found[4:, :, 3].any()
    assert (found[:, :, :3] == 127).all()


def test_a_mask_is_shown_half_transparent() -> None:
    picture = np.zeros((1, 2, 4), np.float32)
    picture[0, 1] = (300, -2, 7.9, 255)
    assert shown(picture).tolist() == [[[0, 0, 0, 255], [255, 0, 7, 128]]]
    assert shown(picture[:, :, :3]).shape == (1, 2, 3)


def test_sizes() -> None:
    assert hint_size((517, 768)) == (512, 768)
    assert pixel_perfect((200, 100), (512, 512), fill=False) == 512
    assert pixel_perfect((200, 100), (512, 512), fill=True) == 256
    assert pixel_perfect((100, 50), (64, 33), fill=True) == 32  # 0.64 x 50


def test_transparent_parts_are_white() -> None:
    image = Image.new("RGBA", (2, 1), (10, 20, 30, 0))
    image.putpixel((1, 0), (10, 20, 31, 128))
    half = [int(value * np.float32(128 / 255) + 255 * (1 - np.float32(128 / 255))) for value in (10, 20, 31)]
    assert rgb_pixels(image).tolist() == [[[255, 255, 255], half]]
    assert rgb_pixels(Image.new("L", (1, 1), 7)).tolist() == [[[7, 7, 7]]]


def test_a_drawing_is_the_picture_itself() -> None:
    picture = np.full((4, 4, 3), 99, np.uint8)
    drawing, empty, full = (np.full((4, 4, 1), value, np.uint8) for value in (0, 4, 251))
    drawing[1, 1] = 255
    assert (picture_of(picture, drawing, takes_mask=False) == drawing).all()
    for mask in (None, empty, full):
        assert (picture_of(picture, mask, takes_mask=False) == 99).all()
    both = picture_of(picture, drawing, takes_mask=True)
    assert (both[:, :, :3] == 99).all()
    assert (both[:, :, 3:] == drawing).all()


def test_a_mask_of_another_size() -> None:
    with pytest.raises(InvalidInput, match="it is 3 x 2, the picture 4 x 5"):
        picture_of(np.zeros((5, 4, 3), np.uint8), mask_pixels(Image.new("L", (3, 2))), takes_mask=True)
