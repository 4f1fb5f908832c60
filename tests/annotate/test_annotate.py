"""The preprocessors without weights, against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

from modules.annotate.preprocessor import Pixels, Values
from modules.annotate.registry import find, preprocessors
from modules.errors import InvalidInput


def compute(name: str, picture: Pixels, resolution: float | None = None, a: float = -1, b: float = -1,
            seed: int = 0) -> Pixels:
    """The map of `picture`, by default at the picture's own resolution."""
    item = find(name)
    _, a, b = item.inside(-1, a, b)
    assert item.compute
    return item.compute(picture, Values(int(resolution or min(picture.shape[:2])), a, b, seed))


def noise(height: int, width: int) -> Pixels:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)


def gaussian(picture: np.ndarray, sigma: float, reach: float) -> np.ndarray:
    """Convolved with a Gaussian cut at `reach` sigmas, mirrored at the edges without repeating them."""
    half = int(round(sigma * reach * 2 + 1) | 1) // 2
    weights = np.exp(-np.arange(-half, half + 1) ** 2 / (2 * sigma**2))
    weights /= weights.sum()
    for axis in (0, 1):
        padded = np.pad(picture, [(half, half) if n == axis else (0, 0) for n in range(3)], mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, len(weights), axis=axis)
        picture = windows @ weights
    return picture


@pytest.mark.parametrize("name", ["none", "reference_only", "tile_colorfix", "tile_colorfix+sharp"])
def test_some_leave_the_picture_as_it_is(name: str) -> None:
    picture = noise(50, 70)
    np.testing.assert_array_equal(compute(name, picture, 512), picture)


def test_inpaint_keeps_the_mask_beside_the_picture() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    np.testing.assert_array_equal(compute("inpaint_only", picture, 512), picture)


def test_invert() -> None:
    picture = noise(50, 70)
    assert (compute("invert", picture, 512).astype(int) + picture == 255).all()


def test_canny_finds_a_step_and_nothing_else() -> None:
    picture = np.zeros((100, 150, 3), np.uint8)
    picture[:, 80:] = 60
    edges = compute("canny", picture, a=100, b=200)
    columns = np.flatnonzero(edges.any(axis=(0, 2)))
    assert edges.shape == picture.shape
    assert set(np.unique(edges)) == {0, 255}
    assert len(columns) == 1
    assert columns[0] in (79, 80)
    assert (edges[1:-1, columns[0]] == 255).all()
    assert not compute("canny", picture, a=100, b=255).any()  # Sobel's gradient of this step is 4 x 60 = 240


def test_canny_at_half_the_resolution() -> None:
    picture = np.zeros((100, 150, 3), np.uint8)
    picture[:, 80:] = 255
    assert compute("canny", picture, 50).shape == (50, 75, 3)


def test_threshold_takes_the_darkest_of_the_colours() -> None:
    picture = noise(40, 60)
    expected = np.where(picture.min(axis=2) > 99.5, 255, 0)
    np.testing.assert_array_equal(compute("threshold", picture, a=99.5), np.stack([expected] * 3, axis=2))


def test_a_smaller_picture_averages() -> None:
    picture = noise(40, 60)
    means = picture.reshape(20, 2, 30, 2, 3).mean(axis=(1, 3))
    found = compute("tile_resample", picture, 512, a=2)
    assert abs(found - means).max() <= 0.5
    np.testing.assert_array_equal(compute("tile_resample", picture, 512, a=1.05), picture)


def test_blur_is_a_gaussian() -> None:
    picture = noise(40, 60)
    assert abs(compute("blur_gaussian", picture, a=2.5) - gaussian(picture.astype(float), 2.5, 3)).max() < 1.5


def test_scribbles_are_a_difference_of_gaussians() -> None:
    picture = noise(64, 128) // 2 + 128
    picture[30:34, 60:64] = 0  # so dark that twice the difference does not fit into 8 bits
    levels = picture.astype(float)
    difference = (gaussian(levels, 5, 4) - gaussian(levels, 0.5, 4)).min(axis=2)
    darker = 255 - np.floor((255 - difference).clip(0, 255))
    doubled = darker * 2 % 256
    expected = doubled > 32
    found = compute("scribble_xdog", picture, a=32)
    unsure = np.abs(difference - np.rint(difference)) < 1e-3  # on the edge between two levels
    assert (found[:, :, 0] == 255)[~unsure].tolist() == expected[~unsure].tolist()
    assert ((darker >= 128) & ~expected).any()  # the wrap of 8 bits is part of it


def test_shuffle_is_by_seed_and_reaches_all_of_the_picture() -> None:
    y, x = np.mgrid[:256, :256]
    ramp = np.stack([x, y, 0 * x], axis=2).astype(np.uint8)
    one, again, other = (compute("shuffle", ramp, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert (one != other).mean() > 0.3
    for channel in (0, 1):  # the field goes from one edge to the other
        assert (one[:, :, channel].min(), one[:, :, channel].max()) == (0, 255)
    assert (np.abs(np.diff(one.astype(int), axis=0)) < 12).all()  # and is smooth


def test_colour_grid() -> None:
    picture = noise(100, 150)
    grid = compute("color", picture, 128)
    assert grid.shape == (128, 192, 3)
    squares = grid.reshape(2, 64, 3, 64, 3)
    assert (squares == squares[:, :1, :, :1]).all()
    assert compute("color", picture, 64).shape == (64, 96, 3)


def test_recolor() -> None:
    picture = noise(40, 60)
    value = (picture.max(axis=2) / 255.0) ** 1.5 * 255
    intensity = compute("recolor_intensity", picture, 512, a=1.5)
    assert abs(intensity[:, :, 0] - value).max() <= 1
    linear = picture / 255.0
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.0722, 0.7152, 0.2126]  # red and blue change places
    lightness = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance) * 2.55
    assert abs(compute("recolor_luminance", picture, 512, a=1)[:, :, 1] - lightness).max() <= 1.5


@pytest.mark.parametrize("item", preprocessors(), ids=lambda item: item.name)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 200), (70, 9)])
def test_any_size_of_picture_has_a_map(item, height: int, width: int) -> None:
    if item.compute is None:
        pytest.skip("needs a network")
    _, a, b = item.inside(-1, -1, -1)
    picture = np.full((height, width, 4 if item.takes_mask else 3), 200, np.uint8)
    control_map = item.compute(picture, Values(64, a, b))
    assert control_map.dtype == np.uint8
    assert control_map.shape[2] == picture.shape[2]
    assert min(control_map.shape) > 0


def test_finding_one() -> None:
    assert find("t2ia_color_grid") is find("color")
    assert find("Canny").name == "canny"
    for unknown in ("no_such", ""):
        with pytest.raises(InvalidInput, match="no preprocessor"):
            find(unknown)


def test_numbers_out_of_range_become_the_default() -> None:
    assert find("canny").inside(32, 0, 300) == (512, 100, 200)
    assert find("canny").inside(64, 1, 255) == (64, 1, 255)
    assert find("invert").inside(512, -1, 0.7) == (0.5, 0.5, 0.7)


def test_types_of_control() -> None:
    assert [item.name for item in preprocessors("Canny")] == ["none", "canny", "invert"]
    names = [item.name for item in preprocessors()]
    assert len(names) == len(set(names))
    assert names[0] == "none"
