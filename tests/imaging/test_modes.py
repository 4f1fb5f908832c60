"""Pictures of any mode become RGB or RGBA, by whichever door they come in."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modules import cli
from modules.api import pictures
from modules.imaging.modes import to_rgb
from modules.ui.canvas.canvas import open_picture

READERS = {"page": open_picture, "command line": cli.read_picture,
           "API": lambda file: pictures.decode(base64.b64encode(file.read_bytes()).decode(), "image", 10**6)}


@pytest.mark.parametrize("reader", READERS)
def test_16_bit_grey_keeps_its_shades(tmp_path: Path, reader: str) -> None:
    shades = np.arange(256, dtype=np.uint16)
    deep = np.stack([shades * 256, shades * 257, shades * 256 + 255])  # three ways to write 8 bits as 16
    Image.fromarray(deep).save(tmp_path / "deep.png")
    image = READERS[reader](tmp_path / "deep.png")
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), np.broadcast_to(shades[None, :, None], (3, 256, 3)))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "I;16"])
def test_a_transparent_colour_becomes_alpha(tmp_path: Path, mode: str) -> None:
    grey = Image.fromarray(np.array([[0, 255]], np.uint8))
    image = Image.fromarray(np.array([[0, 65535]], np.uint16)) if mode == "I;16" else grey.convert(mode)
    image.save(tmp_path / "hole.png", transparency=(0, 0, 0) if mode == "RGB" else 0)
    with Image.open(tmp_path / "hole.png") as file:
        assert np.asarray(to_rgb(file)).tolist() == [[[0, 0, 0, 0], [255, 255, 255, 255]]]
