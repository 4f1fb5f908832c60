"""The parameters text comes out of every kind of file that it is written into."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import ExifTags, Image

from modules.gallery.formats import png_info
from modules.text.image_metadata import read

TEXT = 'a dog, 犬, "quoted"\nNegative prompt: blurry\nSteps: 5, Sampler: DDIM, Seed: 1'


def saved(file_format: str, **arguments: Any) -> Image.Image:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), "teal").save(file, file_format, **arguments)
    return Image.open(file)


def exif(comment: bytes) -> Image.Exif:
    data = Image.Exif()
    data.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    return data


def test_png() -> None:
    assert read(saved("PNG", pnginfo=png_info(TEXT))) == TEXT


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP"])
@pytest.mark.parametrize("comment", [
    b"UNICODE\0" + TEXT.encode("utf-16-be"), b"UNICODE\0" + TEXT.encode("utf-16-le"),
    b"ASCII\0\0\0" + TEXT.encode(), b"\0" * 8 + TEXT.encode()])
def test_exif(file_format: str, comment: bytes) -> None:
    assert read(saved(file_format, exif=exif(comment))) == TEXT


def test_gif() -> None:
    assert read(saved("GIF", comment=TEXT.encode())) == TEXT


@pytest.mark.parametrize("arguments", [{}, {"exif": b"Exif\0\0broken"}, {"exif": b""}])
def test_a_picture_without_a_text(arguments: dict[str, Any]) -> None:
    assert read(saved("JPEG", **arguments)) == ""
    assert read(saved("PNG")) == ""
