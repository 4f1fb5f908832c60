"""The outline of a mask along the edges of a picture whose edges are known."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from modules.imaging.snap import snapped

Bits = np.ndarray
BAND = 8


def scene(scale: int = 1) -> tuple[Image.Image, Bits, Bits]:
    """An orange disk on noisy blue, the disk, and a mask of it as a hand paints it."""
    y, x = np.mgrid[: 300 * scale, : 400 * scale] / scale
    disk = (x - 200) ** 2 + (y - 150) ** 2 < 80**2
    rough = (x - 204) ** 2 + (y - 147) ** 2 < (80 + 5 * np.sin(9 * np.arctan2(y - 147, x - 204))) ** 2
    noise = np.random.default_rng(0).normal(0, 8, (*disk.shape, 3))
    colours = np.where(disk[..., None], (210, 120, 30), (40, 90, 170)) + noise
    return Image.fromarray(colours.clip(0, 255).astype(np.uint8)), disk, rough


def as_mask(bits: Bits) -> Image.Image:
    return Image.fromarray(np.where(bits, 255, 0).astype(np.uint8))


def iou(a: Bits, b: Bits) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("scale", [1, 4])
def test_a_rough_outline_goes_to_the_edge(scale: int) -> None:
    picture, disk, rough = scene(scale)
    found = np.asarray(snapped(picture, as_mask(rough), BAND * scale)) > 0
    assert iou(rough, disk) < 0.93
    assert iou(found, disk) > 0.985


def test_what_is_far_from_the_outline_stays() -> None:
    """A square around the disk, farther from it than the band."""
    picture, _, _ = scene()
    square = np.zeros((300, 400), bool)
    square[40:260, 90:310] = True
    found = np.asarray(snapped(picture, as_mask(square), BAND)) > 0
    band = BAND + 3
    assert found[40 + band : 260 - band, 90 + band : 310 - band].all()
    outside = np.ones((300, 400), bool)
    outside[40 - band : 260 + band, 90 - band : 310 + band] = False
    assert not found[outside].any()


def test_small_parts_stay_and_grey_is_cut() -> None:
    picture, disk, rough = scene()
    dot = np.zeros_like(disk)
    dot[20:24, 20:24] = True
    found = np.asarray(snapped(picture, as_mask(rough | dot), BAND))
    assert set(np.unique(found)) == {0, 255}
    assert found[18:26, 18:26].any()
    grey = Image.fromarray(np.where(rough, 200, 100).astype(np.uint8))
    assert iou(np.asarray(snapped(picture, grey, BAND)) > 0, disk) > 0.985


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (2000, 2), (40, 40)])
def test_unexpected_pictures(size: tuple[int, int]) -> None:
    picture = Image.new("RGBA", size, "grey")
    for bits in (np.zeros(size[::-1], bool), np.ones(size[::-1], bool), np.arange(size[0]) + np.zeros(size[::-1]) < 1):
        found = snapped(picture, as_mask(bits), BAND)
        assert (found.mode, found.size) == ("L", size)
        assert (np.asarray(found) > 0).any() == bits.any()
