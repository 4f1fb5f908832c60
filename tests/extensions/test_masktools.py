"""The mask tools against numpy and scipy, and through the engine."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import fake_engine
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from extensions.masktools import shapes
from modules.engine.engine import Engine
from modules.request import Inpaint, ScriptCall
from modules.request.job_context import NullJob
from modules.settings import Settings

Mask = NDArray[np.uint8]


def blobs(seed: int = 3, size: tuple[int, int] = (60, 80)) -> Mask:
    """Smooth random islands with holes, some of them at the border."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=size), 4)
    return np.where(noise > 0.01, 255, 0).astype(np.uint8)


def far_from(region: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Euclidean distance of each pixel to the nearest one of `region`."""
    return ndimage.distance_transform_edt(~region)


@pytest.mark.parametrize("radius", [1, 4, 9])
def test_grow_and_shrink_go_by_euclidean_distance(radius: int) -> None:
    mask = blobs()
    painted = mask > 0
    assert (shapes.grow(mask, radius) == np.where(far_from(painted) <= radius, 255, 0)).all()
    assert (shapes.shrink(mask, radius) == np.where(far_from(~painted) > radius, 255, 0)).all()


@pytest.mark.parametrize("radius", [1, 3, 8])
def test_smooth_takes_the_majority(radius: int) -> None:
    mask = blobs()
    reach = np.arange(-radius, radius + 1)
    disk = (reach[:, None] ** 2 + reach**2 <= radius**2).astype(int)
    votes = ndimage.correlate((mask > 0).astype(int), disk, mode="reflect")
    assert (shapes.smooth(mask, radius) == np.where(votes * 2 > disk.sum(), 255, 0)).all()


def test_holes_are_filled_and_bays_are_not() -> None:
    mask = blobs()
    filled = shapes.fill_holes(mask)
    assert (filled == np.where(ndimage.binary_fill_holes(mask > 0), 255, 0)).all()
    assert filled.sum() > mask.sum()


@pytest.mark.parametrize("width", [1, 5, 12])
def test_feather_rises_inwards_by_distance(width: int) -> None:
    mask = blobs()
    soft = shapes.feather(mask, width)
    expected = np.clip(far_from(mask == 0) / (width + 1), 0, 1) * 255
    assert abs(soft - expected).max() <= 0.51
    assert (soft[mask == 0] == 0).all()


def test_snapping_finds_the_edge_of_a_disk() -> None:
    """A circle painted too large, too small, or shifted becomes the disk in the picture."""
    y, x = np.mgrid[:96, :96]
    inside = (x - 48) ** 2 + (y - 48) ** 2 <= 24**2
    noise = np.random.default_rng(0).normal(0, 4, (96, 96, 3))
    picture = np.clip(np.where(inside[..., None], (200, 90, 40), (60, 110, 160)) + noise, 0, 255).astype(np.uint8)
    for radius, shift in ((28, 0), (20, 0), (24, 4)):
        painted = (x - 48 - shift) ** 2 + (y - 48) ** 2 <= radius**2
        before = (painted != inside).sum()
        snapped = shapes.snap(np.where(painted, 255, 0).astype(np.uint8), picture, 8) > 127
        wrong = snapped != inside
        assert wrong.sum() < before / 4
        assert (far_from(inside) * wrong).max() <= 1.5
        assert (far_from(~inside) * wrong).max() <= 1.5


def test_snapping_moves_nothing_farther_than_its_reach() -> None:
    mask = blobs()
    picture = np.random.default_rng(1).integers(0, 255, (*mask.shape, 3), np.uint8)
    snapped = shapes.snap(mask, picture, 3)
    changed = snapped != mask
    assert changed.any()
    distance = np.where(mask > 0, far_from(mask == 0), far_from(mask > 0))
    assert distance[changed].max() <= 3
    labels, count = ndimage.label(mask > 0)
    assert all((snapped[labels == number] > 0).any() for number in range(1, count + 1)), "thin parts are kept"


def test_empty_and_full_masks_stay_what_they_are() -> None:
    picture = np.zeros((10, 12, 3), np.uint8)
    for value in (0, 255):
        mask = np.full((10, 12), value, np.uint8)
        assert (shapes.snap(mask, picture, 4) == value).all()
        assert (shapes.fill_holes(mask) == value).all()
        assert (shapes.smooth(mask, 3) == value).all()
        assert (shapes.grow(mask, 2) == value).all()


# --- through the engine

def painting(*, on: bool, arguments: tuple[object, ...] = (), inset: int = 8) -> Inpaint:
    picture = Image.fromarray(np.full((64, 64, 3), (120, 90, 60), np.uint8))
    mask = Image.new("L", picture.size)
    mask.paste(255, (inset + 8, inset + 8, 56 - inset, 56 - inset))
    return Inpaint(prompt="x", width=64, height=64, steps=3, seed=5, init_images=(picture,), mask=mask, mask_blur_x=0,
                   mask_blur_y=0, always_on=(ScriptCall("Mask tools", arguments),) if on else ())


def made(engine: Engine, request: Inpaint) -> tuple[Image.Image, str]:
    result = engine.generate(request, NullJob())
    assert result.warnings == ()
    return result.images[0].image, result.images[0].infotext


def test_the_engine_paints_what_the_tools_made_of_the_mask(settings: Settings) -> None:
    """Grown by 8 in every direction the pixels that may change are those within 8 of the mask."""
    engine = fake_engine(settings)
    request = painting(on=True, arguments=(False, 0, 0, 8))
    image, text = made(engine, request)
    assert "Mask tools enabled: True, Mask tools grow: 8" in text
    changed = (np.asarray(image) != np.asarray(request.init_images[0])).any(axis=2)
    within = far_from(np.asarray(request.mask) > 0) <= 8
    assert (changed == within).all()
    plain, text = made(engine, painting(on=False, arguments=(False, 0, 0, 8)))
    assert "Mask tools" not in text
    changed = (np.asarray(plain) != np.asarray(request.init_images[0])).any(axis=2)
    assert (changed == (np.asarray(request.mask) > 0)).all()


def test_shrinking_is_the_same_as_painting_less(settings: Settings) -> None:
    engine = fake_engine(settings)
    shrunk, _ = made(engine, painting(on=True, arguments=(False, 0, 0, 0, 4)))
    assert shrunk.tobytes() == made(engine, painting(on=False, inset=12))[0].tobytes()


def test_tools_without_values_leave_the_mask_alone(settings: Settings) -> None:
    engine = fake_engine(settings)
    assert made(engine, painting(on=True))[0].tobytes() == made(engine, painting(on=False))[0].tobytes()
