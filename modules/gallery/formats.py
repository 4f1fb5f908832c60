"""The formats that pictures are saved and sent in, with the parameters text inside each (options `samples_format`,
`jpeg_quality` and `webp_lossless`, WebUI's names)."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from modules.base.unicode import without_surrogates
from modules.text.image_metadata import PARAMETERS

Kind = Literal["PNG", "JPEG", "WEBP"]

KINDS: dict[str, Kind] = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP"}
"""By what `samples_format` may be. Any other word means PNG."""

LONGEST_SIDE = {"PNG": 2**31 - 1, "JPEG": 65_500, "WEBP": 16_383}
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

    def fitting(self, image: Image.Image) -> Format:
        """This one, or PNG for a picture that is too large for it."""
        return self if max(image.size) <= LONGEST_SIDE[self.kind] else PNG

    @property
    def suffix(self) -> str:
        """How files of it end."""
        return {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}[self.kind]

    @property
    def media_type(self) -> str:
        """Its name in HTTP."""
        return f"image/{self.kind.lower()}"

    def encode(self, image: Image.Image, infotext: str = "", texts: Mapping[str, str] = _NO_TEXTS, *,
               compress_level: int = 6) -> bytes:
        """`image`, which `fitting` has seen, as a file; `texts` are further chunks of a PNG by their names."""
        buffer = io.BytesIO()
        if self.kind == "PNG":
            image.save(buffer, "PNG", pnginfo=png_info(infotext, texts), compress_level=compress_level)
        elif self.kind == "JPEG":
            exif = user_comment(infotext)
            image.convert("RGB").save(buffer, "JPEG", quality=self.quality,
                                      exif=exif if len(exif) <= LONGEST_EXIF else b"")
        else:
            image.convert("RGBA" if "A" in image.getbands() else "RGB").save(
                buffer, "WEBP", quality=self.quality, lossless=self.lossless, exif=user_comment(infotext))
        return buffer.getvalue()


PNG = Format()


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


def user_comment(infotext: str) -> bytes:
    """An EXIF block whose UserComment is the parameters text, as WebUI writes it; empty for no text."""
    if not infotext:
        return b""
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = \
        b"UNICODE\0" + without_surrogates(infotext).encode("utf-16-be")
    return exif.tobytes()
