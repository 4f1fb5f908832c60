"""Formats: what is saved and sent is of the kind that is asked for, with the parameters text inside."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modules.gallery.formats import PNG, Format
from modules.gallery.saving import EncodedImage, Saver
from modules.request import Txt2Img
from modules.request.result import GeneratedImage
from modules.text import image_metadata

TEXT = "狗, a bench é\nSteps: 1, Sampler: Euler"
NOISE = Image.effect_noise((64, 48), 90).convert("RGB")


@pytest.mark.parametrize(("kind", "suffix"), [("png", ".png"), ("JPG", ".jpg"), ("webp", ".webp")])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_each_format_keeps_the_text(tmp_path: Path, kind: str, suffix: str, mode: str) -> None:
    saver = Saver(tmp_path, form=lambda: Format.of({"samples_format": kind}))
    path = saver(GeneratedImage(NOISE.convert(mode), 7, 0, TEXT), Txt2Img())
    assert path.name == f"00000-7{suffix}"
    with Image.open(path) as image:
        assert image.size == NOISE.size
        assert image_metadata.read(image) == TEXT


def test_a_file_that_is_there_already_is_written_if_it_has_the_format(tmp_path: Path) -> None:
    jpeg = Format.of({"samples_format": "jpg"})
    made = EncodedImage(NOISE, 7, 0, TEXT, form=jpeg, content=b"the file")
    assert Saver(tmp_path, form=lambda: jpeg)(made, Txt2Img()).read_bytes() == b"the file"
    path = Saver(tmp_path, form=lambda: PNG)(made, Txt2Img())
    assert path.suffix == ".png"
    assert Image.open(path).tobytes() == NOISE.tobytes()


def test_quality_and_losslessness_are_obeyed() -> None:
    forms = [Format.of({"samples_format": "jpg", "jpeg_quality": quality}) for quality in (1, 50, 100)]
    sizes = [len(form.encode(NOISE)) for form in forms]
    assert sizes == sorted(set(sizes))
    exact = Format.of({"samples_format": "webp", "webp_lossless": True}).encode(NOISE)
    assert Image.open(io.BytesIO(exact)).convert("RGB").tobytes() == NOISE.tobytes()


@pytest.mark.parametrize("values", [{}, {"samples_format": 3}, {"jpeg_quality": "best"}, {"jpeg_quality": True},
                                    {"jpeg_quality": 0}, {"samples_format": None, "jpeg_quality": 10**9}])
def test_values_without_a_meaning_are_the_defaults(values: dict[str, Any]) -> None:
    assert Format.of(values) == PNG


def test_what_does_not_fit_into_a_format_still_becomes_a_file() -> None:
    jpeg = Format.of({"samples_format": "jpg"})
    assert jpeg.encode(NOISE, "x" * 100_000).startswith(b"\xff\xd8"), "without its text"
    assert Format.of({"samples_format": "webp"}).fitting(Image.new("1", (20_000, 1))) == PNG
