"""Sprites: an object's picture, recoloured, in a style, at a size. Each is made once."""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path

import filters
import numpy as np
from PIL import Image
from scenes import COLOURS, OBJECTS
from stored import stored


@cache
def square(folder: str, code: str) -> Image.Image:
    """The picture of a code point, RGBA, cropped to what is visible and centred in a square."""
    image = Image.open(Path(folder) / f"{code}.webp").convert("RGBA")
    image = image.crop(image.getchannel("A").point(lambda a: 255 * (a > 16)).getbbox())
    side = max(image.size)
    out = Image.new("RGBA", (side, side))
    out.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return out


def recoloured(art: Image.Image, hue: int, spread: int, colour: str) -> Image.Image:
    """The picture in another colour: pixels of its main hue take the new hue, saturation and brightness."""
    rgba = np.asarray(art).astype(np.float32) / 255
    hsv = np.asarray(art.convert("RGB").convert("HSV")).astype(np.float32) / 255
    offset = (hsv[..., 0] * 360 - hue + 180) % 360 - 180
    inside = np.clip((spread - np.abs(offset)) / 8, 0, 1) * np.clip((hsv[..., 1] - 0.18) / 0.14, 0, 1)
    weight = inside * rgba[..., 3]
    mean_s = (hsv[..., 1] * weight).sum() / weight.sum()
    mean_v = (hsv[..., 2] * weight).sum() / weight.sum()
    new_hue, saturation, value, _ = COLOURS[colour]
    new = np.stack([
        ((new_hue + 0.2 * offset) % 360) / 360,
        np.clip(hsv[..., 1] * saturation / mean_s, 0, 1),
        np.clip(hsv[..., 2] * value / mean_v, 0, 1),
    ], -1)
    painted = Image.fromarray((new * 255).round().astype(np.uint8), "HSV").convert("RGB")
    out = np.asarray(painted).astype(np.float32) / 255 * inside[..., None] + rgba[..., :3] * (1 - inside[..., None])
    out = np.concatenate([out, rgba[..., 3:]], -1)
    return Image.fromarray((out * 255).round().astype(np.uint8), "RGBA")


@cache
def _master(folder: str, name: str, colour: str, style: str) -> Image.Image:
    """The object in a colour and a style, as large as the art is; kept on disk."""
    return stored(folder, (name, colour, style), lambda: _styled(folder, name, colour, style))


def _styled(folder: str, name: str, colour: str, style: str) -> Image.Image:
    thing = OBJECTS[name]
    image = square(folder, thing.code)
    if thing.spread and colour != thing.colours[0]:
        image = recoloured(image, thing.hue, thing.spread, colour)
    if style == "flat":
        return filters.flat(image, 6)
    if style == "watercolour":
        room = image.width // 20  # ragged contours reach past the drawn ones
        wide = Image.new("RGBA", (image.width + 2 * room, image.height + 2 * room), (255, 255, 255, 0))
        wide.paste(image, (room, room))
        rgba = np.asarray(wide).astype(np.float32) / 255
        rgb, alpha = filters.watercolour(rgba[..., :3], rgba[..., 3], seed=len(name) + 7 * len(colour))
        out = np.concatenate([rgb, alpha[..., None]], -1)
        return Image.fromarray((out * 255).round().astype(np.uint8), "RGBA")
    return image


@lru_cache(maxsize=5000)
def sprite(folder: str, name: str, colour: str, style: str, side: int) -> Image.Image:
    """The object, side x side pixels RGBA."""
    return _master(folder, name, colour, style).resize((side, side), Image.Resampling.LANCZOS)
