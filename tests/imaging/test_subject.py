"""Subjects by an ONNX file whose answer is known, and the cut-out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes import ASTRONAUT
from onnx_files import Output, write_onnx
from PIL import Image

from modules.errors import CheckpointError
from modules.imaging.click_mask import ClickMasks
from modules.imaging.subject import Subjects

PHOTOGRAPHS = Path(__file__).parents[3] / "shared" / "data"
SHARES = np.zeros((1, 1, 16, 16), np.float32)
SHARES[..., 8:, :] = 0.4
SHARES[..., 12:, :] = 0.8


def test_the_answer_is_spread_and_stretched(tmp_path: Path) -> None:
    write_onnx(tmp_path / "isnet.onnx", {"output": Output.of(SHARES), "side": Output.of(np.ones((1, 1, 4, 4)))},
               shape=(1, 3, 16, 16))
    matte = np.asarray(Subjects([tmp_path]).matte(Image.new("RGB", (32, 64))))
    assert matte.shape == (64, 32)
    assert [int(matte[row, 5]) for row in (4, 40, 60)] == [0, 127, 255]
    mask = np.asarray(Subjects([tmp_path]).mask(Image.new("RGB", (32, 64))))
    assert [int(mask[row, 5]) for row in (4, 60)] == [0, 255]
    assert set(np.unique(mask)) == {0, 255}


def test_the_network_sees_rgb_around_zero(tmp_path: Path) -> None:
    """Its first pixel is the mean of red, its last that of blue; 0.5 and -0.5 are the ends."""
    weights = np.zeros((3, 4), np.float32)
    weights[0, 0], weights[2, 3] = 1, 1
    bias = np.array([0, -0.5, 0.5, 0], np.float32).reshape(1, 1, 2, 2)
    write_onnx(tmp_path / "isnet.onnx", {"output": Output.of(bias, weights)}, shape=(1, 3, 2, 2))
    matte = np.asarray(Subjects([tmp_path]).matte(Image.new("RGB", (2, 2), (255, 0, 102))))
    assert matte.tolist() == [[255, 0], [255, 102]]


def test_a_cut_out_keeps_what_was_transparent(tmp_path: Path) -> None:
    write_onnx(tmp_path / "isnet.onnx", {"output": Output.of(SHARES)}, shape=(1, 3, 16, 16))
    picture = Image.new("RGBA", (16, 16), (200, 100, 50, 255))
    picture.putpixel((0, 15), (200, 100, 50, 0))
    cut = Subjects([tmp_path]).cut_out(picture)
    assert cut.mode == "RGBA"
    assert cut.getpixel((5, 0)) == (200, 100, 50, 0)
    assert cut.getpixel((5, 15)) == (200, 100, 50, 255)
    assert cut.getpixel((0, 15)) == (200, 100, 50, 0)


def test_without_a_file_it_is_what_stands_in_front(tmp_path: Path) -> None:
    """The astronaut: her face, hair and suit, but neither the flag nor the shuttle."""
    with Image.open(ASTRONAUT) as file:
        mask = Subjects([tmp_path]).mask(file)
    inside = {(226, 118), (225, 30), (190, 390), (60, 330), (390, 420)}
    outside = {(30, 60), (455, 80), (330, 120), (120, 40), (500, 250)}
    assert all(mask.getpixel(at) == 255 for at in inside)
    assert all(mask.getpixel(at) == 0 for at in outside)


def test_where_nothing_stands_in_front_it_is_grabcut(tmp_path: Path) -> None:
    picture = Image.new("RGB", (120, 90), (40, 90, 170))
    assert Subjects([tmp_path]).matte(picture).tobytes() == ClickMasks(picture).in_the_middle().tobytes()


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="the photographs are not there")
def test_subjects_of_photographs(tmp_path: Path) -> None:
    """The given masks are broad strokes around the subject."""
    names = sorted(PHOTOGRAPHS.glob("*_mask.png"))
    assert len(names) == 4
    for name in names:
        with Image.open(str(name).replace("_mask", "")) as picture, Image.open(name) as file:
            found, given = np.asarray(Subjects([tmp_path]).mask(picture)) > 0, np.asarray(file.convert("L")) > 127
        assert (found & given).sum() >= 0.9 * found.sum(), name
        assert (found & given).sum() >= 0.5 * given.sum(), name


def test_what_finds_no_subjects_is_refused(tmp_path: Path) -> None:
    picture = Image.new("RGB", (9, 9))
    for shape, output, words in (((1, 3, 8, 8), np.ones((1, 5)), "its answer has the shape 1 x 5"),
                                 ((1, 8, 8, 3), SHARES, "does not take one RGB picture")):
        write_onnx(tmp_path / "isnet.onnx", {"output": Output.of(output)}, shape=shape, channels_last=shape[3] == 3)
        with pytest.raises(CheckpointError, match=words):
            Subjects([tmp_path]).matte(picture)
    (tmp_path / "isnet.onnx").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="is not an ONNX file"):
        Subjects([tmp_path]).matte(picture)
