"""Growing a picture: its own pixels, what is new, and the mask."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import ASTRONAUT
from PIL import Image

from modules.imaging.outpaint import OVERLAP, Sides, grow_mask, grow_paint, grow_picture

SIDES = Sides(left=40, up=0, right=24, down=64)


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.open(ASTRONAUT).resize((160, 120))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_old_pixels_stay_byte_for_byte(photo: Image.Image, mode: str) -> None:
    picture = photo.convert(mode)
    if mode == "RGBA":
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    grown = grow_picture(picture, SIDES)
    assert (grown.mode, grown.size) == (mode, (224, 184))
    assert grown.crop((40, 0, 200, 120)).tobytes() == picture.tobytes()
    assert grown.tobytes() == grow_picture(picture, SIDES).tobytes()
    if mode == "RGBA":
        assert grown.getchannel("A").crop((0, 120, 224, 184)).getextrema() == (255, 255)


def test_what_is_new_goes_on_in_the_colours_of_the_edge(photo: Image.Image) -> None:
    """At the seam no step that the picture would not have itself; further out its brightness and its texture."""
    grown = np.asarray(grow_picture(photo, Sides(right=64)), float)
    seam = np.abs(grown[:, 160] - grown[:, 159]).mean()
    inside = np.abs(np.diff(grown[:, 100:160], axis=1)).mean()
    assert seam < inside
    assert np.abs(grown[:, 160:].mean((0, 1)) - grown[:, 96:160].mean((0, 1))).max() < 6
    assert np.abs(np.diff(grown[:, 190:], axis=1)).mean() > inside / 2, "a flat surface would be painted as fog"


def test_a_tiny_picture_can_grow_by_more_than_its_size() -> None:
    grown = grow_picture(Image.new("RGB", (1, 2), (10, 200, 30)), Sides(8, 8, 8, 8))
    assert grown.size == (17, 18)
    assert np.abs(np.asarray(grown, int) - (10, 200, 30)).max() == 0


def test_the_mask_covers_what_is_new_and_a_strip_of_the_old() -> None:
    painted = Image.new("L", (160, 120))
    painted.paste(130, (80, 10, 100, 30))
    mask = np.asarray(grow_mask(painted, (160, 120), SIDES))
    expected = np.full((184, 224), 255)
    expected[0:120 - OVERLAP, 40 + OVERLAP:200 - OVERLAP] = 0  # no strip at the top: it did not grow
    expected[10:30, 120:140] = 130
    assert np.array_equal(mask, expected)
    assert np.asarray(grow_mask(None, (4, 4), Sides(left=8))).min() == 255


def test_colours_move_with_the_picture() -> None:
    paint = Image.new("RGBA", (10, 10), (1, 2, 3, 4))
    grown = np.asarray(grow_paint(paint, Sides(left=8, down=16)))
    assert grown.shape == (26, 18, 4)
    assert (grown[:10, 8:] == (1, 2, 3, 4)).all()
    assert not grown[10:].any()
    assert not grown[:, :8].any()
