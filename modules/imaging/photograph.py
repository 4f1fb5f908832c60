"""Reads photographs with their depth, profile and metadata, and puts painted parts into them.

Networks work in 8-bit sRGB. So a photograph is shown to them in sRGB, and what they paint is converted into the
photograph's own colours and depth before it is mixed in. What is not painted keeps its values.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import logging
import warnings
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageOps, JpegImagePlugin

from modules.errors import InvalidInput
from modules.imaging.modes import to_rgb
from modules.request.photograph import JpegTables, Kind, Photograph, Pixels

log = logging.getLogger(__name__)

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "AVIF", "TIFF")
"""The formats that are read, by Pillow's names."""

MOST_ICC = 4 * 2**20
MOST_EXIF = 2**20
"""The most bytes of a profile and of an EXIF block that are kept."""

IMAGE_HISTORY = 37395
"""The EXIF tag ImageHistory (TIFF/EP), in which the record of the edits is."""

BROKEN_PROFILE = "The photograph's colour profile cannot be used, so its colours are taken as sRGB."
BROKEN_EXIF = "The photograph's EXIF cannot be read, so it is not kept."
NOT_DEEP = "The photograph's 16 bits a channel cannot be read here, so 8 of them are kept."
OTHER_MODEL = "The photograph's colours ({mode}) became sRGB."

OTHER_MODELS = ("CMYK", "YCbCr", "LAB", "HSV", "I", "F")
"""Pillow's modes whose values are not kept."""

_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_STRUCTURE = frozenset({254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 274, 277, 278, 279, 284, 290, 291, 292, 293,
                        297, 301, 317, 318, 319, 320, 322, 323, 324, 325, 330, 332, 338, 339, 340, 341, 347, 512, 513,
                        514, 519, 520, 521, 529, 530, 531, 532, 700, 33723, 34377, 34675})
"""Tags of a TIFF that describe its pixels, not the photograph, or other metadata as a whole. (TIFF 6.0, section 8.)"""


def read(data: bytes, name: str = "", max_pixels: int | None = None,
         shown_size: tuple[int, int] | None = None) -> Photograph:
    """The photograph in a file's bytes, upright.

    With `shown_size` (width, height), the orientation tag is not applied if only the picture as it is stored has that
    size: browsers differ in whether they apply the tag outside JPEG. The size in the file's header is checked before
    any pixel is decoded. Raises InvalidInput.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as raw:
                if max_pixels is not None and raw.width * raw.height > max_pixels:
                    raise InvalidInput(f"The picture has {raw.width}x{raw.height} pixels; {max_pixels / 1e6:.0f} "
                                       "million is the most.", field="init_images")
                return _read(raw, data, name, shown_size)
    except InvalidInput:
        raise
    except Exception as error:  # a broken file makes Pillow's decoders raise nearly anything
        raise InvalidInput("This file is not a picture that can be read.", field="init_images") from error


def _read(raw: Image.Image, data: bytes, name: str, shown_size: tuple[int, int] | None) -> Photograph:
    stored, notes = raw.size, []
    deep, kind = _has_16_bits(raw, data), _kind(raw)
    exif, orientation, record, readable = _exif(raw)
    if not readable:
        notes.append(BROKEN_EXIF)
    icc = raw.info.get("icc_profile") or b""
    tables = JpegTables(dict(raw.quantization), _subsampling(raw)) \
        if isinstance(raw, JpegImagePlugin.JpegImageFile) else None
    upright = ImageOps.exif_transpose(raw)  # Pillow turns a TIFF when it decodes it
    if shown_size is not None and upright.size != shown_size and stored == shown_size and kind != "TIFF":
        upright, orientation = raw.copy(), 1
    if upright.mode in OTHER_MODELS:
        notes.append(OTHER_MODEL.format(mode=upright.mode))
        upright, icc = _from_other(upright, icc), b""
    pixels = _pixels(upright)
    if deep:
        decoded = _decode_16_bits(data, orientation, pixels)
        pixels = pixels if decoded is None else decoded
        notes += [NOT_DEEP] if decoded is None else []
    if icc and not _is_usable(icc, pixels.shape[2]):
        notes.append(BROKEN_PROFILE)
        icc = b""
    return Photograph(pixels, to_srgb(pixels, icc), icc, exif, kind, tables, name,
                      hashlib.sha256(data).hexdigest(), len(data), record, tuple(notes))


def _kind(raw: Image.Image) -> Kind:
    kinds: dict[str, Kind] = {"JPEG": "JPEG", "MPO": "JPEG", "WEBP": "WEBP", "TIFF": "TIFF"}
    return kinds.get(raw.format or "", "PNG")


def _subsampling(raw: JpegImagePlugin.JpegImageFile) -> int | None:
    found = JpegImagePlugin.get_sampling(raw)
    return found if found in (0, 1, 2) else None


def _exif(raw: Image.Image) -> tuple[bytes, int, str, bool]:
    """(EXIF block, orientation, the record of edits in it, whether it could be read).

    The thumbnail is left out, since it shows the old picture.
    """
    try:
        exif = raw.getexif()
        orientation = int(exif.get(ExifTags.Base.Orientation, 1))
        kept = Image.Exif()
        for tag, value in exif.items():
            if tag not in _STRUCTURE and tag not in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
                kept[tag] = value
        for group in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            kept.get_ifd(group).update(exif.get_ifd(group))
        record = kept.get_ifd(ExifTags.IFD.Exif).pop(IMAGE_HISTORY, "")
        found = kept.tobytes() if _holds_something(kept) else b""
    except Exception:  # a broken EXIF block makes Pillow's reader raise nearly anything
        return b"", 1, "", False
    record = record if isinstance(record, str) else ""
    return (found, orientation, record, True) if len(found) <= MOST_EXIF else (b"", orientation, record, False)


def _holds_something(exif: Image.Exif) -> bool:
    return any(tag not in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo) for tag in exif) or any(
        exif.get_ifd(group) for group in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo))


def without_place(exif: bytes) -> bytes:
    """An EXIF block without GPS."""
    if not exif:
        return exif
    block = Image.Exif()
    block.load(exif)
    block.get_ifd(ExifTags.IFD.Exif)
    del block[ExifTags.IFD.GPSInfo]
    return block.tobytes()


# --- pixels

def _has_16_bits(raw: Image.Image, data: bytes) -> bool:
    """Whether the file's header says so."""
    if raw.format == "PNG":
        return data[24] == 16
    bits = getattr(raw, "tag_v2", {}).get(258, ()) if raw.format == "TIFF" else ()
    bits = bits if isinstance(bits, tuple) else (bits,)
    return bool(bits) and set(bits) == {16}


def _pixels(image: Image.Image) -> Pixels:
    """8-bit pixels with 1, 3 or 4 channels."""
    if image.mode in ("1", "L", "I;16", "I;16B") and not image.has_transparency_data:
        return np.asarray(to_rgb(image))[..., :1]
    return np.asarray(to_rgb(image))


def _decode_16_bits(data: bytes, orientation: int, pixels: Pixels) -> Pixels | None:
    """The pixels by OpenCV, with 16 bits, upright. None unless they are what Pillow read as `pixels`, with more bits.

    OpenCV turns a TIFF, but not a PNG.
    """
    if not _has_one_size(data):
        return None
    try:
        found: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        log.warning("OpenCV cannot read a picture: %s", error)
        return None
    if found is None or found.dtype != np.uint16:
        return None
    found = found[..., None] if found.ndim == 2 else found
    if found.shape[2] in (3, 4):
        found = found[..., (2, 1, 0, 3)[:found.shape[2]]]
    for turned in (found, _turned(found, orientation)):
        if turned.shape == pixels.shape and np.array_equal(turned >> 8, pixels):
            return cast(Pixels, np.ascontiguousarray(turned))
    return None


def _has_one_size(data: bytes) -> bool:
    """Whether a TIFF's first directory names its size once. Libraries differ in which of two they take, and only the
    one that Pillow takes was checked."""
    if data[:4] not in (b"II*\0", b"MM\0*"):
        return data[:8] == b"\x89PNG\r\n\x1a\n"
    order = "little" if data[:2] == b"II" else "big"

    def number(at: int, length: int) -> int:
        return int.from_bytes(data[at:at + length], order)  # type: ignore[arg-type]

    first = number(4, 4)
    tags = [number(first + 2 + 12 * entry, 2) for entry in range(number(first, 2))]
    return tags.count(256) == tags.count(257) == 1


def _turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Pixels (H, W, C) turned upright from an EXIF orientation of 1 to 8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


# --- colours

def _is_usable(icc: bytes, channels: int) -> bool:
    """Whether a profile can be converted from and to, and is for pixels of so many channels."""
    if len(icc) > MOST_ICC:
        return False
    try:
        _converted(_converted(Image.new("L" if channels == 1 else "RGB", (1, 1)), icc, to="RGB"), icc)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return False
    return True


def _converted(image: Image.Image, icc: bytes, *, to: str = "") -> Image.Image:
    """`image` (RGB or L) from the profile `icc` into sRGB as `to` ("RGB"), or without `to` from sRGB into the profile.

    The intent is relative colorimetric with black point compensation. Raises PyCMSError.
    """
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    grey = profile.profile.xcolor_space.strip() == "GRAY"
    if profile.profile.xcolor_space.strip() not in ("RGB", "GRAY") or (to and grey != (image.mode == "L")):
        raise ImageCms.PyCMSError("the profile is for other pixels")
    source, target, mode = (profile, _SRGB, to) if to else (_SRGB, profile, "L" if grey else "RGB")
    transform = ImageCms.buildTransform(source, target, image.mode, mode, ImageCms.Intent.RELATIVE_COLORIMETRIC,
                                        ImageCms.Flags.BLACKPOINTCOMPENSATION)
    return cast(Image.Image, ImageCms.applyTransform(image, transform))


def _from_other(image: Image.Image, icc: bytes) -> Image.Image:
    """A picture in sRGB; CMYK by its profile if that can be used."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        return cast(Image.Image, ImageCms.profileToProfile(image, profile, _SRGB, outputMode="RGB"))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image.convert("RGB")


def to_srgb(pixels: Pixels, icc: bytes) -> Image.Image:
    """The picture in 8-bit sRGB, RGB or RGBA."""
    levels = to_8_bits(pixels)
    alpha = Image.fromarray(np.ascontiguousarray(levels[..., 3])) if levels.shape[2] == 4 else None
    image = Image.fromarray(np.ascontiguousarray(levels[..., 0] if levels.shape[2] == 1 else levels[..., :3]))
    image = _converted(image, icc, to="RGB") if icc else image.convert("RGB")
    if alpha:
        image.putalpha(alpha)
    return image


def in_srgb(image: Image.Image) -> Image.Image:
    """RGB or RGBA `image` by the RGB profile in its `info`, if that can be used."""
    icc = image.info.get("icc_profile") or b""
    return to_srgb(np.asarray(image), icc) if icc and _is_usable(icc, 3) else image


def to_8_bits(pixels: Pixels) -> NDArray[np.uint8]:
    """Levels 0 to 65535 as 0 to 255, rounded. 8-bit pixels as they are."""
    if pixels.dtype == np.uint8:
        return cast(NDArray[np.uint8], pixels)
    return ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def painted(photograph: Photograph, patch: Image.Image, paint: Image.Image) -> Photograph:
    """`photograph` with RGB `patch` (8-bit sRGB) mixed in by L `paint`, both of its size. 255 takes the patch.

    Where `paint` is 0 the pixels are the photograph's own. Its alpha channel stays everywhere.
    """
    box = paint.getbbox()
    if box is None:
        return photograph
    pixels = photograph.pixels.copy()
    left, top, right, bottom = box
    own = pixels[top:bottom, left:right, :3]
    new = patch.crop(box).convert("RGB")
    if photograph.icc:
        new = _converted(new, photograph.icc)
    elif own.shape[2] == 1:
        new = new.convert("L")
    levels = np.asarray(new, np.float32).reshape(own.shape) * np.float32(257 if photograph.is_deep else 1)
    share = np.asarray(paint.crop(box), np.float32)[..., None] / np.float32(255)
    own[...] = np.rint(own + share * (levels - own)).astype(pixels.dtype)
    return with_pixels(photograph, pixels, to_srgb(pixels, photograph.icc))


def with_pixels(photograph: Photograph, pixels: Pixels, image: Image.Image) -> Photograph:
    """A photograph that has new `pixels`, which `image` shows, and is no file."""
    return dataclasses.replace(photograph, pixels=pixels, image=image, name="", sha256="", nbytes=0, record="")
