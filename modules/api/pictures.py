"""Pictures in JSON: base64 text, or a data: URL. No address is ever fetched."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping
from types import MappingProxyType

from PIL import Image, ImageOps

from modules.errors import InvalidInput
from modules.gallery import saving
from modules.imaging.modes import to_rgb

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "AVIF", "TIFF")


def decode(text: str, field: str, max_pixels: int) -> Image.Image:
    """The picture in `text`, turned as its EXIF says; RGB or RGBA. Raises InvalidInput naming `field`."""
    image = open_picture(text, field, max_pixels)
    try:
        return to_rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # a broken file makes Pillow's decoders raise nearly anything
        raise InvalidInput(f"{field} is not a picture that can be read.", field=field) from error


def open_picture(text: str, field: str, max_pixels: int) -> Image.Image:
    """The picture in `text` with its metadata, pixels not yet decoded. Raises InvalidInput naming `field`."""
    if text[:8].lower().startswith(("http://", "https://", "ftp://", "file://")):
        raise InvalidInput(f"{field} must be the picture itself, in base64: addresses are not fetched.", field=field)
    if not text:
        raise InvalidInput(f"{field} is empty.", field=field)
    try:
        data = base64.b64decode(text.split(",", 1)[1] if text.startswith("data:") else text, validate=False)
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (binascii.Error, ValueError, IndexError) as error:
        raise InvalidInput(f"{field} is not base64.", field=field) from error
    except Image.DecompressionBombError as error:
        raise InvalidInput(f"{field} has more pixels than the {max_pixels} that are read here (--max-image-mp).",
                           field=field) from error
    except Exception as error:  # as above
        raise InvalidInput(f"{field} is not a picture that can be read.", field=field) from error
    if image.width * image.height > max_pixels:
        raise InvalidInput(f"{field} has {image.width} x {image.height} pixels; at most {max_pixels} are read here "
                           "(--max-image-mp).", field=field)
    return image


def encode(image: Image.Image, infotext: str = "", texts: Mapping[str, str] = MappingProxyType({})) -> str:
    """`image` as a PNG in base64, with its parameters text inside, and more `texts` by the names of their chunks."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=saving.png_info(infotext, texts), compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
