"""Writes PNG and TIFF with 8 or 16 bits a channel, a colour profile and EXIF. Pillow writes no 16-bit colours.

`pixels` are (height, width, channels): 1 channel for grey, 3 for RGB, 4 for RGBA.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import cv2
import numpy as np
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from PIL.TiffTags import LONG, SHORT

from modules.request.photograph import Pixels

_PNG = b"\x89PNG\r\n\x1a\n"
_STRIP_BYTES = 2**18
_DEFLATE, _DIFFERENCES, _UNASSOCIATED_ALPHA = 8, 2, 2


def png(pixels: Pixels, icc: bytes, exif: bytes, info: PngInfo, compress_level: int = 6) -> bytes:
    """A PNG of 16-bit `pixels`. OpenCV writes the pixels, and Pillow all other chunks."""
    image = pixels[..., 0] if pixels.shape[2] == 1 else pixels[..., (2, 1, 0, 3)[:pixels.shape[2]]]
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(image), [cv2.IMWRITE_PNG_COMPRESSION, compress_level])
    about = io.BytesIO()
    Image.new("L", (1, 1)).save(about, "PNG", pnginfo=info, icc_profile=icc, exif=exif)
    header, *data = _chunks(encoded.tobytes())
    others = [chunk for chunk in _chunks(about.getvalue()) if chunk[4:8] not in (b"IHDR", b"IDAT", b"IEND")]
    return _PNG + b"".join((header, *others, *data))


def _chunks(file: bytes) -> Iterator[bytes]:
    """The chunks of a PNG: length, name, data and checksum."""
    at = len(_PNG)
    while at < len(file):
        end = at + 12 + int.from_bytes(file[at:at + 4], "big")
        yield file[at:end]
        at = end


def tiff(pixels: Pixels, icc: bytes, exif: bytes) -> bytes:
    """A TIFF 6.0 of 8-bit or 16-bit `pixels`, compressed without loss (Deflate over horizontal differences)."""
    height, width, channels = pixels.shape
    differences = pixels.copy()
    differences[:, 1:] -= pixels[:, :-1]
    rows = max(_STRIP_BYTES // (width * channels * pixels.itemsize), 1)
    little = differences.astype(pixels.dtype.newbyteorder("<"), copy=False)
    strips = [zlib.compress(little[top:top + rows].tobytes()) for top in range(0, height, rows)]
    directory = _directory(exif)
    values = {256: width, 257: height, 258: (8 * pixels.itemsize,) * channels, 259: _DEFLATE,
              262: 1 if channels == 1 else 2, 273: tuple(_starts(strips)), 277: channels, 278: rows,
              279: tuple(map(len, strips)), 284: 1, 317: _DIFFERENCES}
    for tag, value in values.items():
        directory.tagtype[tag] = LONG if tag in (256, 257, 273, 278, 279) else SHORT
        directory[tag] = value
    if channels == 4:
        directory.tagtype[338] = SHORT
        directory[338] = _UNASSOCIATED_ALPHA
    if icc:
        directory[34675] = icc
    # The directory's writer adds its own end to the strips' places.
    return struct.pack("<2sHL", b"II", 42, 8) + directory.tobytes(8) + b"".join(strips)


def _directory(exif: bytes) -> ImageFileDirectory_v2:
    directory = ImageFileDirectory_v2(b"II*\0\x08\0\0\0")
    if exif:
        block = Image.Exif()
        block.load(exif)
        groups = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
        for tag, value in block.items():
            if tag not in groups:
                directory[tag] = value
        for group in groups:
            if found := block.get_ifd(group):
                directory[group] = found
    return directory


def _starts(strips: list[bytes]) -> Iterator[int]:
    start = 0
    for strip in strips:
        yield start
        start += len(strip)
