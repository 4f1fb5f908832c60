"""Photographs for the tests: files with a colour profile, EXIF, an alpha channel and 16 bits a channel."""

from __future__ import annotations

import io
import struct
from functools import cache
from typing import Any

import numpy as np
from fakes import ASTRONAUT
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

from modules.gallery import deep

SIZE = (2048, 1365)

# (red, green, blue) as XYZ of D50, and the exponent of the tone curve; for P3 it is sRGB's curve.
ADOBE_RGB = (((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)), 563 / 256)
DISPLAY_P3 = (((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)), None)
SRGB = (((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)), None)

Space = tuple[tuple[tuple[float, float, float], ...], float | None]


def profile(space: Space) -> bytes:
    """A matrix/TRC profile of ICC version 2 (ICC.1:2001-04)."""
    colorants, gamma = space
    if gamma is None:
        levels = [decoded(np.array(n / 1023), space) for n in range(1024)]
        curve = b"curv\0\0\0\0" + struct.pack(">I1024H", 1024, *(round(float(one) * 65535) for one in levels))
    else:
        curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    tags = {b"desc": b"desc\0\0\0\0" + struct.pack(">I5s", 5, b"test\0") + bytes(79), b"cprt": b"text\0\0\0\0none\0",
            b"wtpt": _xyz((0.9642, 1.0, 0.8249)), b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    tags |= {name: _xyz(one) for name, one in zip((b"rXYZ", b"gXYZ", b"bXYZ"), colorants, strict=True)}
    table, body, at = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += struct.pack(">4sII", name, at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(">I4sI4s4s4s12s4s", at + len(body), b"test", 0x02400000, b"mntr", b"RGB ", b"XYZ ", bytes(12),
                         b"acsp") + bytes(28) + _xyz((0.9642, 1.0, 0.8249))[8:] + bytes(48)
    return header + table + body


def grey_profile() -> bytes:
    """A grey profile with a gamma of 2.2."""
    tags = {b"desc": b"desc\0\0\0\0" + struct.pack(">I5s", 5, b"test\0") + bytes(79), b"cprt": b"text\0\0\0\0none\0",
            b"wtpt": _xyz((0.9642, 1.0, 0.8249)), b"kTRC": b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256))}
    table, body, at = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += struct.pack(">4sII", name, at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(">I4sI4s4s4s12s4s", at + len(body), b"test", 0x02400000, b"mntr", b"GRAY", b"XYZ ", bytes(12),
                         b"acsp") + bytes(28) + _xyz((0.9642, 1.0, 0.8249))[8:] + bytes(48)
    return header + table + body


def _xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def decoded(values: NDArray[Any], space: Space) -> NDArray[Any]:
    """Values in [0, 1] as linear light."""
    if space[1] is not None:
        return values ** space[1]
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def converted(values: NDArray[Any], source: Space, target: Space) -> NDArray[Any]:
    """Colours in [0, 1] from one space into another, clipped to its gamut: the definition, without a library."""
    light = decoded(values, source) @ np.array(source[0]) @ np.linalg.inv(np.array(target[0]))
    light = np.clip(light, 0, 1)
    if target[1] is not None:
        return light ** (1 / target[1])
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def exif(orientation: int = 1) -> bytes:
    """What a camera writes, with the place."""
    block = Image.Exif()
    block[ExifTags.Base.Make], block[ExifTags.Base.Model] = "Kamera", "K-1"
    block[ExifTags.Base.Artist], block[ExifTags.Base.Orientation] = "Jemand", orientation
    inner = block.get_ifd(ExifTags.IFD.Exif)
    inner[ExifTags.Base.DateTimeOriginal], inner[ExifTags.Base.ISOSpeedRatings] = "2026:01:31 12:00:00", 200
    inner[ExifTags.Base.ExposureTime] = 0.004
    gps = block.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitudeRef], gps[ExifTags.GPS.GPSLatitude] = "N", (52.0, 31.0, 12.0)
    return block.tobytes()


@cache
def pixels() -> NDArray[np.uint8]:
    """The astronaut at 2048 x 1365, RGB."""
    with Image.open(ASTRONAUT) as image:
        return np.asarray(image.convert("RGB").crop((0, 90, 512, 431)).resize(SIZE, Image.Resampling.BICUBIC))


def deep_pixels(eight: NDArray[np.uint8], seed: int = 0) -> NDArray[np.uint16]:
    """A 16-bit twin of 8-bit pixels: its high bytes are these, its low bytes noise."""
    low = np.random.default_rng(seed).integers(0, 256, eight.shape, dtype=np.uint16)
    return (eight.astype(np.uint16) << 8) | low


def with_alpha(colours: NDArray[Any]) -> NDArray[Any]:
    """`colours` with an alpha channel that falls from the left to the right."""
    most = np.iinfo(colours.dtype).max
    ramp = np.linspace(most, 1, colours.shape[1]).astype(colours.dtype)
    return np.dstack([colours, np.broadcast_to(ramp, colours.shape[:2])])


def file(values: NDArray[Any], kind: str, *, icc: bytes = b"", exif: bytes = b"", **how: Any) -> bytes:
    """A file of `kind` with these pixels (H, W, 1, 3 or 4)."""
    if values.dtype == np.uint16:
        from PIL.PngImagePlugin import PngInfo

        return deep.tiff(values, icc, exif) if kind == "TIFF" else deep.png(values, icc, exif, PngInfo())
    buffer = io.BytesIO()
    Image.fromarray(values[..., 0] if values.shape[2] == 1 else values).save(
        buffer, kind, **({"icc_profile": icc} if icc else {}), **({"exif": exif} if exif else {}), **how)
    return buffer.getvalue()


def tags(data: bytes) -> dict[int, Any]:
    """All EXIF tags of a file, those of its groups included, apart from what describes the pixels."""
    with Image.open(io.BytesIO(data)) as image:
        block = image.getexif()
        found = {tag: value for tag, value in block.items() if tag in (271, 272, 274, 315)}
        for group in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            found |= block.get_ifd(group)
        found.pop(ExifTags.Base.UserComment, None)
        return {tag: tuple(map(float, value)) if isinstance(value, tuple) else value for tag, value in found.items()}


def is_readable(icc: bytes) -> bool:
    """Whether LittleCMS takes the profile."""
    return bool(ImageCms.ImageCmsProfile(io.BytesIO(icc)).profile.is_matrix_shaper)
