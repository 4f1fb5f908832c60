"""Painted colours: laid on a picture, and blended in with their mask."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from modules.imaging.sketch import inpaint_sketch, lay

SIZE = (64, 48)


def noise(bands: int, seed: int) -> Image.Image:
    shape = (SIZE[1], SIZE[0], bands)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8))


def strokes() -> Image.Image:
    """Red at full opacity on the left, blue at half opacity on the right."""
    paint = Image.new("RGBA", SIZE)
    paint.paste((255, 0, 0, 255), (4, 10, 20, 30))
    paint.paste((0, 0, 255, 128), (40, 10, 60, 30))
    return paint


def test_colours_become_part_of_the_picture() -> None:
    picture = noise(3, 0)
    before, after = np.asarray(picture, float), np.asarray(lay(picture, strokes()), float)
    assert (after[10:30, 4:20] == (255, 0, 0)).all()
    mixed = before * (127 / 255) + np.array([0, 0, 255]) * (128 / 255)
    assert np.abs(after - mixed)[10:30, 40:60].max() <= 1
    assert (after[30:] == before[30:]).all()
    see_through = noise(4, 1)
    assert lay(see_through, Image.new("RGBA", SIZE)).tobytes() == see_through.tobytes()


def test_inpaint_sketch_blends_by_webuis_formula() -> None:
    """blurred(picture with colours) * blurred(opacity) + picture * (1 - blurred(opacity))."""
    picture, paint = noise(3, 2), strokes()
    start, mask = inpaint_sketch(picture, None, paint, 3)
    assert mask.tobytes() == paint.getchannel("A").tobytes()
    coloured = np.asarray(picture).copy()
    coloured[10:30, 4:20] = (255, 0, 0)
    coloured[10:30, 40:60] = (0, 0, 255)
    gaussian = ImageFilter.GaussianBlur(3)
    weight = np.asarray(mask.filter(gaussian), float)[..., None] / 255
    blurred = np.asarray(Image.fromarray(coloured).filter(gaussian), float)
    expected = blurred * weight + np.asarray(picture, float) * (1 - weight)
    assert np.abs(np.asarray(start, float) - expected).max() <= 1


def test_colours_and_mask_are_painted_together_and_nothing_else_is_touched() -> None:
    picture, drawn = noise(3, 3), Image.new("L", SIZE)
    drawn.paste(255, (0, 40, 64, 48))
    start, mask = inpaint_sketch(picture, drawn, strokes(), 2)
    assert np.array_equal(np.asarray(mask), np.maximum(np.asarray(drawn), np.asarray(strokes())[..., 3]))
    assert np.array_equal(np.asarray(start)[38:], np.asarray(picture)[38:]), "a mask alone brings no colour"
