"""What was painted into a photograph as a layer for other programs: a transparent PNG, or an OpenRaster file with the
photograph, the layer and the mask. (openraster.org, File Layout and Layers Stack Specifications, version 0.0.5.)"""

from __future__ import annotations

import dataclasses
import io
import zipfile
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modules.errors import InvalidInput
from modules.gallery import deep
from modules.gallery.formats import PNG, png_info
from modules.imaging.framing import placed_mask
from modules.imaging.mask import Box
from modules.request import Inpaint, Txt2Img
from modules.request.photograph import Photograph, Pixels
from modules.request.result import GeneratedImage

SUFFIXES = {"layer": "-layer.png", "openraster": ".ora"}
"""The kinds, with what their files' names end with."""

MOST_OF_THUMBNAIL = 256
"""Pixels of its longer side."""


@dataclasses.dataclass(frozen=True)
class Layered:
    """A result as layers: the photograph `before`, the `patch` over it at `box`, and the L `mask` of the whole size.

    `patch` is RGBA in the depth of the photograph and in the colours of `icc`. Laid over the photograph it gives the
    result. Its alpha is the mask with its blur, and more where the result differs more than that explains.
    """

    before: Photograph
    made: GeneratedImage
    patch: Pixels
    box: Box
    mask: Image.Image
    icc: bytes

    def png(self) -> bytes:
        """The patch as a PNG of the photograph's size."""
        left, top, right, bottom = self.box
        whole = np.zeros((*self.before.size[::-1], 4), self.patch.dtype)
        whole[top:bottom, left:right] = self.patch
        return _png(whole, self.icc)

    def open_raster(self) -> bytes:
        """An OpenRaster file. The mask is hidden in it. The merged image has the parameters text."""
        after = self.made.photograph
        assert after is not None
        small = after.image.copy()
        small.thumbnail((MOST_OF_THUMBNAIL, MOST_OF_THUMBNAIL))
        base = dataclasses.replace(self.before, exif=b"", record="")
        files = {"data/mask.png": PNG.encode(self.mask), "data/patch.png": _png(self.patch, self.icc),
                 "data/photograph.png": PNG.encode_photograph(base),
                 "mergedimage.png": PNG.encode_photograph(after, self.made.infotext),
                 "Thumbnails/thumbnail.png": PNG.encode(small)}
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(zipfile.ZipInfo("mimetype"), "image/openraster")
            archive.writestr(zipfile.ZipInfo("stack.xml"), self._stack())
            for name, data in files.items():
                archive.writestr(zipfile.ZipInfo(name), data)
        return buffer.getvalue()

    def _stack(self) -> str:
        """The layers, the uppermost first. What is transparent in the photograph stays so."""
        width, height = self.before.size
        over = "svg:src-atop" if self.before.has_alpha else "svg:src-over"
        layers = [("Mask", "mask", 0, 0, "hidden", "svg:src-over"), ("Painted part", "patch", *self.box[:2], "visible",
                  over), ("Photograph", "photograph", 0, 0, "visible", "svg:src-over")]
        rows = "".join(f'<layer name={quoteattr(name)} src="data/{file}.png" x="{x}" y="{y}" opacity="1.0" '
                       f'visibility="{seen}" composite-op="{how}"/>' for name, file, x, y, seen, how in layers)
        return (f'<?xml version="1.0" encoding="UTF-8"?>\n<image version="0.0.5" w="{width}" h="{height}">'
                f"<stack>{rows}</stack></image>\n")


def encode(kind: str, made: GeneratedImage, request: Txt2Img) -> bytes:
    """A result as a file of `kind`, a key of `SUFFIXES`. Raises InvalidInput if it cannot be taken apart."""
    layers = layered(made, request)
    return layers.open_raster() if kind == "openraster" else layers.png()


def layered(made: GeneratedImage, request: Txt2Img) -> Layered:
    """The layers of a result of `request`. Raises InvalidInput if it was not painted into one photograph, or is as that
    was."""
    after = made.photograph
    before = request.photograph(0) if isinstance(request, Inpaint) and len(request.init_images) == 1 else None
    if after is None or before is None or before.size != after.size:
        raise InvalidInput("This picture has no layers: they need a photograph that keeps its size, and its mask.")
    assert isinstance(request, Inpaint)
    mask = placed_mask(request)
    if not request.only_masked:  # the rim is made anew there, twice as strongly as the mask says
        mask = mask.point(lambda value: min(2 * value, 255))
    old, new, icc = _colours(before, after)
    box = _box((old != new).any(-1) | (np.asarray(mask) > 0))
    if box is None:
        raise InvalidInput("Nothing was painted in this picture, so it has no layers.")
    left, top, right, bottom = box
    where = slice(top, bottom), slice(left, right)
    return Layered(before, made, _patch(old[where], new[where], np.asarray(mask)[where]), box, mask, icc)


def _colours(before: Photograph, after: Photograph) -> tuple[Pixels, Pixels, bytes]:
    """The RGB pixels of both, and their profile. Grey ones are shown in sRGB, since a grey profile does not fit."""
    if before.pixels.shape[2] == 1:
        return np.asarray(before.image.convert("RGB")), np.asarray(after.image.convert("RGB")), b""
    return before.pixels[..., :3], after.pixels[..., :3], before.icc


def _box(changed: NDArray[np.bool_]) -> Box | None:
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1) if rows.size else None


def _patch(old: Pixels, new: Pixels, mask: NDArray[np.uint8]) -> Pixels:
    """RGBA that makes `new` of `old` when it is laid over it: `mask` is the alpha where that is enough."""
    most = int(np.iinfo(old.dtype).max)
    alpha = mask.astype(np.float32) * (most / 255)
    for channel in range(3):
        before, change = _channel(old, new, channel)
        room = np.where(change > 0, most - before, before)  # how far a patch with alpha 1 can move it
        np.maximum(alpha, np.ceil(most * np.abs(change) / np.maximum(room, 1)).clip(0, most), out=alpha)
    patch = np.zeros((*old.shape[:2], 4), old.dtype)
    for channel in range(3):
        before, change = _channel(old, new, channel)
        colour = np.rint(before + change * most / np.maximum(alpha, 1)).clip(0, most)
        patch[..., channel] = np.where(alpha > 0, colour, 0)
    patch[..., 3] = np.rint(alpha)
    return patch


def _channel(old: Pixels, new: Pixels, channel: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Old values, and by how much they change."""
    before = old[..., channel].astype(np.float32)
    return before, new[..., channel].astype(np.float32) - before


def _png(pixels: Pixels, icc: bytes) -> bytes:
    """A PNG of RGBA pixels of 8 or 16 bits."""
    if pixels.dtype == np.uint16:
        return deep.png(pixels, icc, b"", png_info(""))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", icc_profile=icc)
    return buffer.getvalue()
