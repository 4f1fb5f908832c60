"""The formats that pictures are saved and sent in, with the parameters text inside each (options `samples_format`,
`jpeg_quality` and `webp_lossless`, WebUI's names)."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from modules.base.unicode import without_surrogates
from modules.gallery import deep
from modules.imaging import photograph as photographs
from modules.imaging.modes import to_rgb
from modules.imaging.resize import flatten
from modules.request.photograph import Kind, Photograph
from modules.text.image_metadata import PARAMETERS

KINDS: dict[str, Kind] = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP", "tif": "TIFF", "tiff": "TIFF"}
"""By what `samples_format` may be. Any other word means PNG."""

SUFFIXES: dict[Kind, str] = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif"}
"""How files of each kind end."""

LONGEST_SIDE = {"PNG": 2**31 - 1, "JPEG": 65_500, "WEBP": 16_383, "TIFF": 2**31 - 1}
"""A larger picture becomes a PNG."""

LONGEST_EXIF = 65_533 - 8
"""Bytes of EXIF that a JPEG can hold; a longer parameters text is left out of it."""

DEFAULTS: dict[str, Any] = {"samples_format": "png", "jpeg_quality": 80, "webp_lossless": False}

_NO_TEXTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Format:
    """A format and how much it may lose: `quality` 1 to 100 of JPEG and WebP."""

    kind: Kind = "PNG"
    quality: int = 80
    lossless: bool = False

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Format:
        """The format that options by WebUI's names ask for; values that mean nothing are the defaults."""
        values = DEFAULTS | dict(options)
        quality = values["jpeg_quality"]
        if isinstance(quality, bool) or not isinstance(quality, (int, float)) or not 1 <= quality <= 100:
            quality = DEFAULTS["jpeg_quality"]
        return cls(KINDS.get(str(values["samples_format"]).lower(), "PNG"), int(quality),
                   values["webp_lossless"] is True)

    def named(self, name: str, photograph: Photograph | None = None) -> Format:
        """The format of that name, without loss if it can be. "original" is that of `photograph`, and for an empty name
        it is this one."""
        if not name:
            return self
        kind = KINDS.get(name, photograph.kind if photograph else self.kind)
        return replace(self, kind=kind, lossless=True)

    def fitting(self, image: Image.Image) -> Format:
        """This one, or PNG for a picture that is too large for it."""
        return self if max(image.size) <= LONGEST_SIDE[self.kind] else PNG

    @property
    def suffix(self) -> str:
        """How files of it end."""
        return SUFFIXES[self.kind]

    @property
    def media_type(self) -> str:
        """Its name in HTTP."""
        return f"image/{self.kind.lower()}"

    def encode(self, image: Image.Image, infotext: str = "", texts: Mapping[str, str] = _NO_TEXTS, *,
               compress_level: int = 6) -> bytes:
        """`image`, which `fitting` has seen, as a file; `texts` are further chunks of a PNG by their names."""
        buffer = io.BytesIO()
        if self.kind == "TIFF":
            return deep.tiff(_array(to_rgb(image)), b"", user_comment(infotext))
        if self.kind == "PNG":
            image.save(buffer, "PNG", pnginfo=png_info(infotext, texts), compress_level=compress_level)
        elif self.kind == "JPEG":
            image.convert("RGB").save(buffer, "JPEG", quality=self.quality, exif=jpeg_exif(infotext))
        else:
            image.convert("RGBA" if "A" in image.getbands() else "RGB").save(
                buffer, "WEBP", quality=self.quality, lossless=self.lossless, exif=user_comment(infotext))
        return buffer.getvalue()

    def encode_any(self, image: Image.Image, photograph: Photograph | None, infotext: str = "",
                   texts: Mapping[str, str] = _NO_TEXTS, *, compress_level: int = 6) -> bytes:
        """`photograph` as a file, or `image` if there is none; see `encode`."""
        if photograph is None:
            return self.encode(image, infotext, texts, compress_level=compress_level)
        return self.encode_photograph(photograph, infotext, texts, compress_level=compress_level)

    def encode_photograph(self, photograph: Photograph, infotext: str = "", texts: Mapping[str, str] = _NO_TEXTS, *,
                          compress_level: int = 6) -> bytes:
        """`photograph`, whose size fits, as a file with its profile and EXIF.

        PNG and TIFF keep its pixels. WebP has 8 bits a channel. JPEG has 8 bits and no alpha channel; one that comes
        from a JPEG gets that one's quality.
        """
        exif, info = user_comment(infotext, photograph.exif, photograph.record), png_info(infotext, texts)
        if self.kind == "TIFF":
            return deep.tiff(photograph.pixels, photograph.icc, exif)
        in_png = user_comment("", photograph.exif, photograph.record)  # the parameters have a chunk of their own
        if self.kind == "PNG" and photograph.is_deep:
            return deep.png(photograph.pixels, photograph.icc, in_png, info, compress_level)
        buffer, image, icc = io.BytesIO(), _image(photograph), photograph.icc
        if self.kind == "PNG":
            image.save(buffer, "PNG", pnginfo=info, icc_profile=icc, exif=in_png,
                       compress_level=compress_level)
        elif self.kind == "WEBP":
            grey = image.mode == "L"  # a grey profile does not fit WebP's colours
            image = photograph.image if grey else image
            image.save(buffer, "WEBP", quality=self.quality, lossless=self.lossless, exact=True,
                       icc_profile=b"" if grey else icc, exif=exif)
        else:
            self._save_jpeg(buffer, photograph, flatten(image, "#ffffff") if photograph.has_alpha else image, infotext)
        return buffer.getvalue()

    def _save_jpeg(self, buffer: io.BytesIO, photograph: Photograph, image: Image.Image, infotext: str) -> None:
        how: dict[str, Any] = {"quality": self.quality}
        if photograph.jpeg:
            tables = photograph.jpeg
            how = {"qtables": tables.quantization}
            how |= {} if tables.subsampling is None else {"subsampling": tables.subsampling}
        exif = jpeg_exif(infotext, photograph.exif, photograph.record)
        image.save(buffer, "JPEG", icc_profile=photograph.icc, exif=exif, **how)

    def sidecar(self, photograph: Photograph | None, infotext: str) -> str:
        """The record of the edits, if the file cannot hold it and it must be saved beside; empty otherwise."""
        if photograph is None or self.kind != "JPEG":
            return ""
        whole = user_comment(infotext, photograph.exif, photograph.record)
        return photograph.record if len(whole) > LONGEST_EXIF else ""


PNG = Format()


def _image(photograph: Photograph) -> Image.Image:
    """The photograph's own pixels with 8 bits: L, RGB or RGBA."""
    levels = photographs.to_8_bits(photograph.pixels)
    return Image.fromarray(np.ascontiguousarray(levels[..., 0] if levels.shape[2] == 1 else levels))


def _array(image: Image.Image) -> NDArray[np.uint8]:
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def png_info(infotext: str, texts: Mapping[str, str] = _NO_TEXTS) -> PngInfo:
    """The PNG text chunks for `infotext` and more `texts` by their names: Latin-1 where it can be, UTF-8 otherwise.

    What is no character (half a surrogate pair) is a question mark there.
    """
    info = PngInfo()
    if infotext:
        info.add_text(PARAMETERS, without_surrogates(infotext))
    for name, text in texts.items():
        info.add_text(name, text)
    return info


def user_comment(infotext: str, exif: bytes = b"", record: str = "") -> bytes:
    """The EXIF block `exif` with the parameters text as its UserComment, as WebUI writes it, and the record of edits as
    its ImageHistory; as it is for none of them."""
    if not infotext and not record:
        return exif
    block = Image.Exif()
    if exif:
        block.load(exif)
    inner = block.get_ifd(ExifTags.IFD.Exif)
    if infotext:
        inner[ExifTags.Base.UserComment] = b"UNICODE\0" + without_surrogates(infotext).encode("utf-16-be")
    if record:
        inner[photographs.IMAGE_HISTORY] = record
    return block.tobytes()


def jpeg_exif(infotext: str, exif: bytes = b"", record: str = "") -> bytes:
    """The same for a JPEG, which cannot hold more than `LONGEST_EXIF`: first the record is left out, then the text,
    then the block."""
    candidates = (user_comment(infotext, exif, record), user_comment(infotext, exif), exif, b"")
    return next(block for block in candidates if len(block) <= LONGEST_EXIF)
