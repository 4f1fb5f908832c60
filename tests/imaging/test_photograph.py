"""Photographs: what a file holds is read as it is, and what is painted comes in its colours. The conversions are
checked against their definition in numpy."""

from __future__ import annotations

import io
import struct
from typing import Any

import cv2
import numpy as np
import photographs
import pytest
from numpy.typing import NDArray
from photographs import ADOBE_RGB, DISPLAY_P3, SRGB, converted, profile
from PIL import ExifTags, Image, ImageOps

from modules.errors import InvalidInput
from modules.imaging import photograph
from modules.imaging.photograph import painted, read

EIGHT = photographs.pixels()[1000:1096, 800:928]
DEEP = photographs.deep_pixels(EIGHT)
SPACES = {"Adobe RGB": ADOBE_RGB, "Display P3": DISPLAY_P3}


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("pixels", [DEEP, photographs.with_alpha(DEEP), DEEP[..., :1], EIGHT,
                                    photographs.with_alpha(EIGHT), EIGHT[..., :1]],
                         ids=["RGB16", "RGBA16", "grey16", "RGB", "RGBA", "grey"])
def test_every_value_is_read(kind: str, pixels: NDArray[Any]) -> None:
    icc = photographs.grey_profile() if pixels.shape[2] == 1 else profile(ADOBE_RGB)
    found = read(photographs.file(pixels, kind, icc=icc, exif=photographs.exif()), "a.tif")
    assert (found.pixels.dtype, found.icc, found.kind, found.warnings) == (pixels.dtype, icc, kind, ())
    assert np.array_equal(found.pixels, pixels)
    assert found.image.mode == ("RGBA" if pixels.shape[2] == 4 else "RGB")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_turned_as_pillow_turns_8(kind: str, orientation: int) -> None:
    found = read(photographs.file(DEEP, kind, exif=photographs.exif(orientation)))
    image = Image.fromarray(EIGHT)
    image.getexif()[ExifTags.Base.Orientation] = orientation
    assert found.is_deep
    assert np.array_equal(found.pixels >> 8, np.asarray(ImageOps.exif_transpose(image)))
    block = Image.Exif()
    block.load(found.exif)
    assert ExifTags.Base.Orientation not in block, "it would be turned twice"


def test_the_size_that_the_browser_shows_decides_about_orientation() -> None:
    data = photographs.file(DEEP, "PNG", exif=photographs.exif(6))
    assert np.array_equal(read(data, shown_size=(128, 96)).pixels, DEEP)
    assert read(data, shown_size=(96, 128)).size == (96, 128)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("pixels", [EIGHT, DEEP], ids=["8", "16"])
def test_networks_see_srgb(space: str, pixels: NDArray[Any]) -> None:
    image = read(photographs.file(pixels, "PNG", icc=profile(SPACES[space]))).image
    expected = 255 * converted(pixels / np.iinfo(pixels.dtype).max, SPACES[space], SRGB)
    assert np.abs(np.asarray(image) - expected).max() < 2.5
    assert np.abs(np.asarray(image) - EIGHT.astype(int)).max() > 10, "without the profile it would be another picture"


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("pixels", [EIGHT, DEEP, photographs.with_alpha(DEEP)], ids=["8", "16", "alpha"])
def test_paint_is_mixed_in_the_photographs_colours(space: str, pixels: NDArray[Any]) -> None:
    """out = own + share * (converted patch - own); where the share is 0, the values are the same."""
    original = read(photographs.file(pixels, "TIFF", icc=profile(SPACES[space])))
    patch = np.random.default_rng(1).integers(0, 256, EIGHT.shape, dtype=np.uint8)
    share = np.zeros(EIGHT.shape[:2], np.uint8)
    share[20:60, 30:100] = np.linspace(0, 255, 70).astype(np.uint8)
    made = painted(original, Image.fromarray(patch), Image.fromarray(share))
    most = np.iinfo(pixels.dtype).max
    own, weight = pixels[..., :3] / most, share[..., None] / 255
    expected = own + weight * (converted(patch / 255, SRGB, SPACES[space]) - own)
    assert made.pixels.dtype == pixels.dtype
    assert np.abs(made.pixels[..., :3] / most - expected).max() * 255 < 1.2
    assert np.array_equal(made.pixels[share == 0], pixels[share == 0])
    assert np.array_equal(made.pixels[..., 3:], pixels[..., 3:]), "alpha stays"
    assert np.array_equal(original.pixels, pixels), "the photograph itself is not changed"


def test_grey_photographs_stay_grey() -> None:
    original = read(photographs.file(DEEP[..., :1], "TIFF", icc=photographs.grey_profile()))
    made = painted(original, Image.new("RGB", original.size, (180, 180, 180)), Image.new("L", original.size, 255))
    expected = 65535 * photographs.decoded(np.array(180 / 255), SRGB) ** (1 / 2.2)
    assert np.abs(made.pixels.astype(float) - expected).max() < 300


def test_the_thumbnail_in_exif_is_dropped() -> None:
    """It shows the photograph as it was before."""
    exif = bytearray(photographs.exif())
    directory = 6 + struct.unpack_from(">L" if exif[6:8] == b"MM" else "<L", exif, 10)[0]
    order = ">" if exif[6:8] == b"MM" else "<"
    count, = struct.unpack_from(f"{order}H", exif, directory)
    struct.pack_into(f"{order}L", exif, directory + 2 + 12 * count, len(exif) - 6)
    exif += struct.pack(f"{order}HHHLLHHLLL", 2, 513, 4, 1, len(exif) - 6 + 30, 514, 4, 1, 9, 0) + b"THUMBNAIL"
    data = photographs.file(EIGHT, "JPEG", exif=bytes(exif))
    assert b"THUMBNAIL" in data
    found = read(data)
    assert b"THUMBNAIL" not in found.exif
    assert photographs.tags(photographs.file(EIGHT, "JPEG", exif=found.exif)) == {
        tag: value for tag, value in photographs.tags(data).items() if tag != ExifTags.Base.Orientation}


@pytest.mark.parametrize("icc", [b"no profile", profile(ADOBE_RGB)[:200], photographs.grey_profile(),
                                 bytes(photograph.MOST_ICC + 1)], ids=["text", "cut", "grey", "large"])
def test_a_broken_profile_is_srgb_with_a_warning(icc: bytes) -> None:
    found = read(photographs.file(EIGHT, "TIFF", icc=icc))
    assert (found.icc, found.warnings) == (b"", (photograph.BROKEN_PROFILE,))
    assert np.array_equal(np.asarray(found.image), EIGHT)


def test_broken_exif_is_left_out_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photograph, "MOST_EXIF", 100)
    found = read(photographs.file(EIGHT, "JPEG", exif=photographs.exif(6)))
    assert (found.exif, found.warnings, found.size) == (b"", (photograph.BROKEN_EXIF,), (96, 128))


def test_other_colour_models_become_srgb_with_a_warning() -> None:
    buffer = io.BytesIO()
    Image.fromarray(EIGHT).convert("CMYK").save(buffer, "JPEG", quality=100)
    found = read(buffer.getvalue())
    assert (found.pixels.shape[2], found.warnings) == (3, (photograph.OTHER_MODEL.format(mode="CMYK"),))


def test_the_size_is_checked_before_pixels_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = photographs.file(DEEP, "PNG")
    with monkeypatch.context() as patched:
        patched.setattr(cv2, "imdecode", None)
        patched.setattr(Image.Image, "load", None)
        with pytest.raises(InvalidInput, match="128x96 pixels"):
            read(data, max_pixels=128 * 96 - 1)
    assert read(data, max_pixels=128 * 96).size == (128, 96)


def test_a_tiff_with_two_sizes_is_not_given_to_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that takes the other one of two sizes could be made to decode any number of pixels."""
    data = bytearray(photographs.file(DEEP, "TIFF"))
    at = data.index(struct.pack("<HHL", 284, 3, 1))  # planar configuration: 1 is the default
    data[at:at + 12] = struct.pack("<HHLL", 256, 4, 1, 128)
    monkeypatch.setattr(cv2, "imdecode", None)
    assert read(bytes(data)).warnings == (photograph.NOT_DEEP,)


def test_what_opencv_reads_otherwise_is_kept_with_8_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: DEEP[..., ::-1] ^ 0x8000)
    found = read(photographs.file(DEEP, "PNG"))
    assert (found.pixels.dtype, found.warnings) == (np.uint8, (photograph.NOT_DEEP,))
    assert np.array_equal(found.pixels, EIGHT)


@pytest.mark.parametrize("data", [b"", b"no picture", photographs.file(DEEP, "PNG")[:200]])
def test_what_is_no_picture_is_refused_in_words(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="not a picture that can be read"):
        read(data)
