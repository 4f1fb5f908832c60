"""Masks by clicks without a network: known shapes, and the photographs beside the project if they are there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modules.engine.clicking import Clicking
from modules.errors import InvalidInput
from modules.imaging.click_mask import Click, ClickMasks
from modules.settings import Settings

PHOTOGRAPHS = Path(__file__).parents[3] / "shared" / "data"
CLICKED = {"6458524847_2f4c361183_k": [(350, 261), (303, 366), (342, 477)],
           "alex-iby-G_Pk4D9rMLs": [(193, 202), (334, 202), (100, 330)],
           "bench2": [(334, 124), (341, 196), (302, 294)],
           "overture-creations-5sI6fQgYIuo": [(256, 157), (256, 287), (240, 411)]}
"""What a person clicks, in pixels: three parts of the subject."""


def disks(size: tuple[int, int] = (160, 120), scale: int = 1) -> tuple[Image.Image, np.ndarray, np.ndarray]:
    """Two orange disks on noisy blue, and where they are."""
    width, height = size[0] * scale, size[1] * scale
    y, x = np.mgrid[:height, :width] / scale
    left, right = ((x - at) ** 2 + (y - 60) ** 2 < 20**2 for at in (40, 110))
    noise = np.random.default_rng(0).normal(0, 8, (height, width, 3))
    colours = np.where((left | right)[..., None], (210, 120, 30), (40, 90, 170)) + noise
    return Image.fromarray(colours.clip(0, 255).astype(np.uint8)), left, right


def selected(picture: Image.Image, *clicks: Click) -> np.ndarray:
    mask = ClickMasks(picture).by_clicks(clicks)
    assert (mask.mode, mask.size) == ("L", picture.size)
    assert set(np.unique(np.asarray(mask))) <= {0, 255}
    return np.asarray(mask) > 0


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("scale", [1, 4])
def test_a_click_takes_the_disk_it_is_in(scale: int) -> None:
    picture, left, right = disks(scale=scale)
    assert iou(selected(picture, Click(45 * scale, 66 * scale)), left) > 0.97
    both = selected(picture, Click(45 * scale, 66 * scale), Click(110 * scale, 55 * scale))
    assert iou(both, left | right) > 0.97


def test_what_is_not_meant_is_left_out() -> None:
    """Of one bar, whose ends only the clicks tell apart."""
    pixels = np.full((120, 160, 3), (40, 90, 170), np.uint8)
    pixels[45:75, 20:140] = 210, 120, 30
    picture = Image.fromarray(pixels)
    both = selected(picture, Click(30, 60), Click(130, 60))
    assert iou(both, (pixels[..., 0] == 210)) > 0.97
    one = selected(picture, Click(30, 60), Click(60, 60, False))
    assert one[60, 30]
    assert not one[60, 60]
    assert (one & ~both).sum() == 0


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (3000, 2), (40, 40)])
def test_small_long_and_plain_pictures(size: tuple[int, int]) -> None:
    assert selected(Image.new("RGB", size, (9, 90, 200)), Click(0, 0))[0, 0]
    assert selected(Image.new("LA", size), Click(size[0] - 1, size[1] - 1, True)).any()


@pytest.mark.parametrize("scale", [1, 4])
def test_a_box_takes_what_is_in_it(scale: int) -> None:
    picture, left, _ = disks(scale=scale)
    masks, box = ClickMasks(picture), (12 * scale, 30 * scale, 70 * scale, 92 * scale)
    found = np.asarray(masks.by_clicks([], box)) > 0
    assert iou(found, left) > 0.97
    without = np.asarray(masks.by_clicks([Click(45 * scale, 60 * scale, False)], box)) > 0
    assert not without[60 * scale, 45 * scale]


def test_all_of_a_box_without_a_thing_in_it() -> None:
    for picture in (Image.new("RGB", (160, 120), (9, 90, 200)), Image.new("RGB", (1, 1)), Image.new("L", (3000, 2))):
        width, height = picture.size
        box = (width // 4, 0, width - width // 4, height)
        expected = np.zeros((height, width), bool)
        expected[:, box[0] : box[2]] = True
        found = np.asarray(ClickMasks(picture).by_clicks([], box)) > 0
        assert iou(found, expected) > 0.95


def test_three_sizes_of_one_click() -> None:
    """Of one bar, which goes on beyond the reach of the small and the middle candidate."""
    pixels = np.full((120, 160, 3), (40, 90, 170), np.uint8)
    pixels[45:75, 20:140] = 210, 120, 30
    masks = ClickMasks(Image.fromarray(pixels))
    small, middle, large = (np.asarray(masks.by_clicks([Click(30, 60)], candidate=size)) > 0 for size in range(3))
    bar = pixels[..., 0] == 210
    assert small.sum() < middle.sum() < large.sum()
    assert not ((small | middle | large) & ~bar).any()
    assert np.array_equal(middle, np.asarray(masks.by_clicks([Click(30, 60)])) > 0)


@pytest.mark.parametrize("box", [(1, 1, 1, 5), (-1, 0, 5, 5), (0, 0, 161, 5), (5, 5, 2, 9),
                                 (0, 0, float("nan"), 5)])
def test_boxes_that_make_no_mask(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(InvalidInput, match="box"):
        ClickMasks(disks()[0]).by_clicks([], box)


def test_the_same_clicks_give_the_same_mask() -> None:
    picture = Image.effect_noise((90, 70), 90)
    once = ClickMasks(picture)
    masks = [once.by_clicks([Click(30, 30)]).tobytes() for _ in range(2)]
    assert masks[0] == masks[1] == ClickMasks(picture).by_clicks([Click(30, 30)]).tobytes()


@pytest.mark.parametrize("clicks", [[], [Click(1, 1, False)], [Click(160, 1)], [Click(1, -1)],
                                    [Click(float("nan"), 1)], [Click(1, 1)] * 101])
def test_clicks_that_make_no_mask(clicks: list[Click]) -> None:
    with pytest.raises(InvalidInput):
        ClickMasks(disks()[0]).by_clicks(clicks)


def test_what_is_in_the_middle() -> None:
    y, x = np.mgrid[:120, :160]
    middle, corner = (x - 80) ** 2 + (y - 66) ** 2 < 25**2, (x - 10) ** 2 + (y - 10) ** 2 < 20**2
    noise = np.random.default_rng(0).normal(0, 8, (120, 160, 3))
    colours = np.where((middle | corner)[..., None], (210, 120, 30), (40, 90, 170)) + noise
    mask = ClickMasks(Image.fromarray(colours.clip(0, 255).astype(np.uint8))).in_the_middle()
    assert iou(np.asarray(mask) > 0, middle) > 0.95
    for size in ((1, 1), (2, 3), (3000, 2), (40, 40)):
        assert ClickMasks(Image.new("RGB", size)).in_the_middle().size == size


def test_what_is_behind_is_left_out_where_all_that_is_meant_stands_in_front() -> None:
    """Two halves of one bar, of which the left one stands in front."""
    pixels = np.full((120, 160, 3), (40, 90, 170), np.uint8)
    pixels[45:75, 20:140] = 210, 120, 30
    front = np.zeros((60, 80), np.float32)
    front[:, :30] = 1
    masks = ClickMasks(Image.fromarray(pixels), front)
    left = (pixels[..., 0] == 210) & (np.arange(160) < 60)
    assert iou(np.asarray(masks.by_clicks([Click(50, 60)])) > 0, left) > 0.9
    both = np.asarray(masks.by_clicks([Click(50, 60), Click(80, 60)])) > 0
    assert both[60, 70]
    plain = ClickMasks(Image.fromarray(pixels))
    for candidate in (0, 1):
        assert not (np.asarray(masks.by_clicks([Click(30, 60)], candidate=candidate)) > np.asarray(
            plain.by_clicks([Click(30, 60)], candidate=candidate))).any()
    large = np.asarray(masks.by_clicks([Click(30, 60)], candidate=2)) > 0
    assert large[20, 20], "what stands in front is taken whatever its colour"
    assert not large[60, 80]


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="the photographs are not there")
def test_three_clicks_on_photographs(settings: Settings) -> None:
    """The given masks are broad strokes around the subject."""
    covered, inside, clicking = [], [], Clicking(settings)
    for name, places in CLICKED.items():
        with Image.open(PHOTOGRAPHS / f"{name}.png") as picture, Image.open(PHOTOGRAPHS / f"{name}_mask.png") as given:
            clicks = [Click(x, y) for x, y in places]
            found = np.asarray(clicking.mask((name,), picture.copy, clicks)) > 0
            mask = np.asarray(given.convert("L")) > 127
        inside.append((found & mask).sum() / found.sum())
        covered.append((found & mask).sum() / mask.sum())
    assert min(inside) >= 0.9, inside
    assert np.median(covered) >= 0.5, covered
