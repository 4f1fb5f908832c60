"""Saved photographs: each format keeps what it can hold of pixels, profile, EXIF and the parameters text."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import photographs
import pytest
from numpy.typing import NDArray
from photographs import ADOBE_RGB, DISPLAY_P3, profile
from PIL import ExifTags, Image

from modules.gallery import saving
from modules.gallery.formats import KINDS, Format
from modules.gallery.history import History
from modules.gallery.index import Filter
from modules.gallery.thumbnails import Thumbnails
from modules.imaging.photograph import read
from modules.text import image_metadata

EIGHT = photographs.pixels()[1000:1096, 800:928]
DEEP = photographs.deep_pixels(EIGHT)
TEXT = "狗, a bench é\nSteps: 1, Sampler: Euler"
ICC = profile(ADOBE_RGB)
PIXELS = {"RGB16": DEEP, "RGBA16": photographs.with_alpha(DEEP), "grey16": DEEP[..., :1], "RGB": EIGHT,
          "RGBA": photographs.with_alpha(EIGHT), "grey": EIGHT[..., :1]}


def encoded(pixels: NDArray[Any], form: Format, source: str = "TIFF") -> bytes:
    icc = photographs.grey_profile() if pixels.shape[2] == 1 else ICC
    return form.encode_photograph(read(photographs.file(pixels, source, icc=icc, exif=photographs.exif())), TEXT)


@pytest.mark.parametrize("pixels", PIXELS)
@pytest.mark.parametrize("kind", ["png", "tiff", "webp", "jpg"])
def test_each_format_keeps_profile_exif_and_text(pixels: str, kind: str) -> None:
    values = PIXELS[pixels]
    data = encoded(values, Format().named(kind))
    found = read(data)
    assert found.kind == KINDS[kind]
    kept = photographs.tags(photographs.file(EIGHT, "JPEG", exif=photographs.exif()))
    kept.pop(ExifTags.Base.Orientation)
    assert photographs.tags(data) == kept
    with Image.open(io.BytesIO(data)) as image:
        assert image_metadata.read(image) == TEXT
    if values.shape[2] == 1 and kind == "webp":
        assert found.icc == b"", "a grey profile does not fit WebP's colours, which are sRGB then"
    else:
        assert found.icc == (photographs.grey_profile() if values.shape[2] == 1 else ICC)


@pytest.mark.parametrize("pixels", PIXELS)
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_png_and_tiff_keep_every_value(pixels: str, kind: str) -> None:
    found = read(encoded(PIXELS[pixels], Format().named(kind)))
    assert found.pixels.dtype == PIXELS[pixels].dtype
    assert np.array_equal(found.pixels, PIXELS[pixels])


@pytest.mark.parametrize("pixels", ["RGB", "RGBA"])
def test_webp_without_loss_keeps_every_value(pixels: str) -> None:
    """Also the colours under alpha 0."""
    values = PIXELS[pixels].copy()
    values[..., 3:] &= 0xF0
    assert np.array_equal(read(encoded(values, Format().named("webp"))).pixels, values)


def test_16_bits_are_rounded_for_formats_of_8() -> None:
    found = read(encoded(DEEP, Format().named("webp"))).pixels
    assert np.abs(found - DEEP * (255 / 65535)).max() <= 0.5


def test_pillow_reads_the_same_tiff_as_opencv() -> None:
    """Pillow's own reader sees the high bytes, the alpha channel and the strips of a larger picture."""
    values = photographs.with_alpha(photographs.deep_pixels(photographs.pixels()[:400]))
    with Image.open(io.BytesIO(encoded(values, Format().named("tiff")))) as image:
        assert image.mode == "RGBA"
        assert np.array_equal(np.asarray(image), values >> 8)


def test_a_jpegs_quality_is_kept() -> None:
    """Its quantization and subsampling, whatever the options say. Saved twice, hardly a value changes."""
    for quality, subsampling in ((63, 0), (91, 2)):
        first = photographs.file(EIGHT, "JPEG", quality=quality, subsampling=subsampling)
        again = Format("JPEG", 80).encode_photograph(read(first))
        with Image.open(io.BytesIO(first)) as before, Image.open(io.BytesIO(again)) as after:
            assert after.quantization == before.quantization
            assert (after.layer, after.info.get("progressive")) == (before.layer, before.info.get("progressive"))
            assert np.abs(np.asarray(before).astype(int) - np.asarray(after)).mean() < 0.5


def test_transparent_parts_are_white_in_a_jpeg() -> None:
    values = photographs.with_alpha(EIGHT)
    values[:48, :, 3] = 0
    found = read(encoded(values, Format("JPEG", 95))).pixels
    assert found[:40].min() > 240


def test_a_text_too_long_for_a_jpeg_leaves_the_exif() -> None:
    original = read(photographs.file(EIGHT, "JPEG", exif=photographs.exif()))
    data = Format("JPEG").encode_photograph(original, "x" * 100_000)
    assert photographs.tags(data)[ExifTags.Base.Make] == "Kamera"


@pytest.mark.parametrize("kind", ["png", "tiff", "webp", "jpg"])
def test_history_and_thumbnails_know_each_format(tmp_path: Path, kind: str) -> None:
    """A thumbnail is sRGB, whatever the profile."""
    outputs = tmp_path / "outputs"
    original = read(photographs.file(DEEP, "TIFF", icc=profile(DISPLAY_P3)))
    path = saving.save(original.image, TEXT, outputs, seed=3, form=Format().named(kind), photograph=original)
    history = History(outputs)
    history.reconcile()
    picture, = history.page(Filter())
    assert (picture.path, picture.text, picture.width) == (path.name, TEXT, 128)
    with Image.open(io.BytesIO(Thumbnails(tmp_path / "thumbnails").get(path))) as small:
        assert np.abs(np.asarray(small.convert("RGB")).astype(int) - np.asarray(original.image)).mean() < 4


def test_a_files_name_decides_its_format(tmp_path: Path) -> None:
    original = read(photographs.file(DEEP, "PNG"))
    for name, kind in (("a.TIF", "TIFF"), ("a.jpeg", "JPEG"), ("a.webp", "WEBP"), ("a", "PNG"), ("a.xyz", "PNG")):
        saving.save_as(original.image, TEXT, tmp_path / name, photograph=original)
        assert read((tmp_path / name).read_bytes()).kind == kind
