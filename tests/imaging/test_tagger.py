"""Taggers on ONNX files whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from describers import write_tagger
from onnx_files import Output, write_onnx
from PIL import Image

from modules.errors import CheckpointError
from modules.imaging.tagger import Taggers, as_prompt


def test_shares_by_word(tmp_path: Path) -> None:
    write_tagger(tmp_path)
    tags = Taggers([tmp_path]).tag(Image.new("RGB", (64, 48)), "wd14")
    assert tags.ratings == pytest.approx({"general": 0.8, "explicit": 0.1})
    assert list(tags.words) == ["rem_(re:zero)", "long_hair", "^_^"]
    assert list(tags.above(0.5)) == ["rem_(re:zero)", "long_hair"]
    assert as_prompt(list(tags.words)) == r"rem \(re:zero\), long hair, ^_^"


@pytest.mark.parametrize("size", [(80, 40), (20, 40), (1000, 500), (1, 1)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_network_sees_bgr_on_white(tmp_path: Path, size: tuple[int, int], mode: str) -> None:
    """The first three shares are the means of the channels that it reads."""
    weights = np.zeros((3, 5), np.float32)
    weights[[0, 1, 2], [2, 3, 4]] = 1
    write_tagger(tmp_path, weights=weights, shares=(0, 0, 0, 0, 0))
    colour = (200, 100, 50, 128)[: len(mode)]
    tags = Taggers([tmp_path]).tag(Image.new(mode, size, colour), "wd14")
    covered = size[0] * size[1] / max(size) ** 2 * (128 / 255 if mode == "RGBA" else 1)
    expected = [255 + (value - 255) * covered for value in (50, 100, 200)]  # blue, green, red
    found = [tags.words[word] for word in ("long_hair", "rem_(re:zero)", "^_^")]
    assert found == pytest.approx(expected, abs=3)


def test_where_taggers_lie(tmp_path: Path) -> None:
    write_tagger(tmp_path, "b")
    write_onnx(tmp_path / "A.onnx", {"predictions": Output.of([[0.5]])}, shape=(1, 40, 40, 3), channels_last=True)
    taggers = Taggers([tmp_path, tmp_path / "nowhere"])
    assert list(taggers.files()) == ["b"]
    (tmp_path / "A.csv").write_text("name,category\ndog,0\n")
    assert list(taggers.files()) == ["A", "b"]
    assert taggers.tag(Image.new("L", (9, 9)), "A").words == {"dog": 0.5}


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    folder = write_tagger(tmp_path)
    taggers, picture = Taggers([tmp_path]), Image.new("RGB", (9, 9))
    (folder / "selected_tags.csv").write_text("name,category\ndog,0\n")
    with pytest.raises(CheckpointError, match="answers with 5 shares, and its list has 1 words"):
        Taggers([tmp_path]).tag(picture, "wd14")
    for content in (b"\xff\xfe", b"a,b\n1,2\n"):
        (folder / "selected_tags.csv").write_bytes(content)
        with pytest.raises(CheckpointError, match="needs the columns name and category"):
            Taggers([tmp_path]).tag(picture, "wd14")
    (folder / "selected_tags.csv").write_text("name,category\ndog,0\n")
    (folder / "model.onnx").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="is not an ONNX file"):
        taggers.tag(picture, "wd14")
    write_onnx(folder / "model.onnx", {"predictions": Output.of([[0.5]])})
    with pytest.raises(CheckpointError, match="does not take one RGB picture with the colours last"):
        taggers.tag(picture, "wd14")
