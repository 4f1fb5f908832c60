"""Pictures in JSON: base64 text, or a data: URL. No address is ever fetched."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import io
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from PIL import Image, ImageFile, ImageOps

from modules.errors import InvalidInput
from modules.gallery.formats import PNG, Format
from modules.imaging import photograph as photographs
from modules.imaging.modes import to_rgb
from modules.request import Img2Img, Inpaint, Txt2Img
from modules.request.photograph import Photograph

FORMATS = photographs.FORMATS


def decode(text: str, field: str, max_pixels: int) -> Image.Image:
    """The picture in `text`, turned as its EXIF says; RGB or RGBA. Raises InvalidInput naming `field`."""
    return unpacked(open_picture(text, field, max_pixels), field)


def _bytes_of(image: Image.Image) -> memoryview:
    """The file that `open_picture` opened."""
    assert isinstance(image, ImageFile.ImageFile)
    assert isinstance(image.fp, io.BytesIO)
    return image.fp.getbuffer()


def unpacked(image: Image.Image, field: str) -> Image.Image:
    """What `open_picture` gave, turned as its EXIF says; RGB or RGBA. That one stays packed. Raises InvalidInput."""
    try:
        with Image.open(io.BytesIO(_bytes_of(image)), formats=FORMATS) as again:
            return to_rgb(ImageOps.exif_transpose(again))
    except Exception as error:  # a broken file makes Pillow's decoders raise nearly anything
        raise InvalidInput(f"{field} is not a picture that can be read.", field=field) from error


def unpacked_request(request: Txt2Img, *, keep_photographs: bool = False) -> Txt2Img:
    """`request` with the pictures of `open_picture` unpacked. With `keep_photographs`, inpainting keeps their depth,
    profile and metadata. Raises InvalidInput naming WebUI's field."""
    request = dataclasses.replace(request, control_units=tuple(unit.with_pictures(unpacked)
                                                               for unit in request.control_units))
    if isinstance(request, Img2Img) and request.depth_map:
        request = dataclasses.replace(request, depth_map=unpacked(request.depth_map, "depth_map"))
    if isinstance(request, Inpaint) and request.then_mask:
        request = dataclasses.replace(request, then_mask=unpacked(request.then_mask, "then_mask"))
    if keep_photographs and isinstance(request, Inpaint):
        files = tuple(photographs.read(bytes(_bytes_of(image))) for image in request.init_images)
        return dataclasses.replace(request, init_images=tuple(one.image for one in files), photographs=files,
                                   mask=unpacked(request.mask, "mask"))
    changes: dict[str, Any] = {}
    if request.first_pass:
        changes["first_pass"] = unpacked(request.first_pass, "firstpass_image")
    if isinstance(request, Img2Img):
        changes["init_images"] = tuple(unpacked(image, "init_images") for image in request.init_images)
    if isinstance(request, Inpaint):
        changes["mask"] = unpacked(request.mask, "mask")
    return dataclasses.replace(request, **changes)


def check_pixels(request: Txt2Img, max_pixels: int) -> None:
    """Raises InvalidInput for pictures that have more than twice `max_pixels` together."""
    images = [] if not isinstance(request, Img2Img) else list(request.init_images)
    images += [request.mask] if isinstance(request, Inpaint) else []
    images += [request.then_mask] if isinstance(request, Inpaint) and request.then_mask else []
    images += [request.first_pass] if request.first_pass else []
    images += [picture for unit in request.control_units for picture in unit.pictures]
    images += [request.depth_map] if isinstance(request, Img2Img) and request.depth_map else []
    if sum(image.width * image.height for image in images) > 2 * max_pixels:
        raise InvalidInput(f"The pictures of one request have more than {2 * max_pixels} pixels together (twice "
                           "--max-image-mp).", field="init_images")


def turned_size(image: Image.Image) -> tuple[int, int]:
    """The size of what `open_picture` gave, turned as its EXIF says. (Pillow unpacks a PNG to look for that.)"""
    return unpacked(image, "init_images").size


def open_picture(text: str, field: str, max_pixels: int) -> Image.Image:
    """The picture in `text` with its metadata, pixels not yet decoded. Raises InvalidInput naming `field`."""
    if text[:8].lower().startswith(("http://", "https://", "ftp://", "file://")):
        raise InvalidInput(f"{field} must be the picture itself, in base64: addresses are not fetched.", field=field)
    if not text:
        raise InvalidInput(f"{field} is empty.", field=field)
    try:
        data = base64.b64decode(text.split(",", 1)[1] if text.startswith("data:") else text, validate=False)
    except (binascii.Error, ValueError, IndexError) as error:
        raise InvalidInput(f"{field} is not base64.", field=field) from error
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise InvalidInput(f"{field} has more pixels than the {max_pixels} that are read here (--max-image-mp).",
                           field=field) from error
    except Exception as error:  # as above
        raise InvalidInput(f"{field} is not a picture that can be read.", field=field) from error
    if image.width * image.height > max_pixels:
        raise InvalidInput(f"{field} has {image.width} x {image.height} pixels; at most {max_pixels} are read here "
                           "(--max-image-mp).", field=field)
    return image


def empty_mask(image: Image.Image) -> Image.Image:
    """A mask for what `open_picture` gave on which nothing is painted, packed like that."""
    file = io.BytesIO()
    Image.new("1", turned_size(image)).save(file, "PNG")
    return Image.open(file, formats=("PNG",))


def encode(image: Image.Image, infotext: str = "", texts: Mapping[str, str] = MappingProxyType({}),
           form: Format = PNG, photograph: Photograph | None = None) -> str:
    """`image`, or instead of it `photograph`, in base64, with its parameters text inside, and in a PNG more `texts` by
    the names of their chunks."""
    data = form.fitting(image).encode_any(image, photograph, infotext, texts, compress_level=1)
    return base64.b64encode(data).decode("ascii")
