"""Fits a painted part to the photograph around it: mean colour, sharpness and grain.

A network paints in its own grain, and its decoder and the resizing shift colours and sharpness a little, so a patch
shows although its content fits. What they do is seen on a ring outside the mask, where the network has drawn the
photograph again: its colour and sharpness there are compared with the photograph's own, so that what is new in the
painted part keeps its colours. Grain is measured on a ring inside the mask's edge and brought to that of the ring
outside.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modules.imaging.mask import CLEAR, HALF

Floats = NDArray[np.float32]
Bits = NDArray[np.bool_]

RING = 4, 32
"""The least and the most width of a ring, in pixels."""
LEAST = 64
"""A ring of fewer pixels tells nothing."""
CLOSE = 0.1
"""Where a measure differs by no more than this share, it is left as it is."""
SOFTEST, SHARPEST = 4.0, 3.0
"""The largest blur (sigma in pixels), and the largest amount of unsharp masking."""
HALVINGS = 8
"""How often the interval of the amount is halved."""
FINE = 1.0
"""A Gaussian of this sigma, in pixels, smooths the grain."""
SEED = 0
"""The grain has a fixed seed, so that a picture can be made again."""

_SECOND_DIFFERENCES = np.outer((1, -2, 1), (1, -2, 1)).astype(np.float32)
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True)
class Look:
    """What is measured on a ring: `colour` is the mean (R, G, B), `grain` the standard deviation of the noise in each
    channel, `sharpness` the mean gradient of the luminance once the grain is smoothed. Levels of 0 to 255."""

    colour: Floats
    grain: Floats
    sharpness: float


def look(pixels: Floats, ring: Bits) -> Look:
    """What (H, W, 3) `pixels` look like on a `ring` (H, W)."""
    return Look(pixels[ring].mean(0), _grain(pixels, ring), _sharpness(pixels, ring))


def rings(paint: Image.Image, drawn: Bits) -> tuple[Bits, Bits] | None:
    """A ring inside the edge of what L `paint` paints, and one outside it, both where the network has `drawn`. None
    where there is too little of either."""
    values = np.asarray(paint)
    inside, outside = (values >= (CLEAR if (values >= CLEAR).any() else HALF)) & drawn, values == 0
    width = int(np.clip(np.sqrt(inside.sum()) / 6, *RING))
    far = cv2.distanceTransform((~outside).astype(np.uint8), cv2.DIST_L2, 5)  # from the unpainted part
    inner = inside & (far <= (far[inside].min() if inside.any() else 0) + width)
    outer = outside & drawn & (cv2.distanceTransform(outside.astype(np.uint8), cv2.DIST_L2, 5) <= width)
    return (inner, outer) if min(inner.sum(), outer.sum()) >= LEAST else None


def fitted(patch: Image.Image, original: Image.Image, paint: Image.Image, strength: float) -> Image.Image:
    """RGBA `patch` with the look that RGB `original` has around what L `paint` paints; all have one size. The patch is
    transparent where the network has drawn nothing.

    `strength` is 0 (as it is) to 1. As it is also where too little is drawn around the mask to compare.
    """
    box = paint.getbbox()
    if not strength or box is None:
        return patch
    reach = 2 * RING[1]
    around = (max(box[0] - reach, 0), max(box[1] - reach, 0), min(box[2] + reach, paint.width),
              min(box[3] + reach, paint.height))
    drawn = np.asarray(patch.crop(around).getchannel("A")) == 255
    found = rings(paint.crop(around), drawn)
    if found is None:
        return patch
    inner, outer = found
    photograph = _floats(original.crop(around))
    own = np.where(drawn[..., None], _floats(patch.crop(around)), photograph)
    wanted = look(photograph, outer)
    changed = _with_grain(_with_sharpness(own + (wanted.colour - look(own, outer).colour), outer, wanted), inner,
                          wanted.grain)
    mixed = own + np.float32(strength) * (changed - own)
    result = patch.copy()
    fitting = Image.fromarray(np.rint(mixed).clip(0, 255).astype(np.uint8))
    fitting.putalpha(patch.crop(around).getchannel("A"))
    result.paste(fitting, around[:2])
    return result


def _floats(image: Image.Image) -> Floats:
    return np.asarray(image.convert("RGB"), np.float32)


def _is_close(value: float, wanted: float) -> bool:
    return abs(value - wanted) <= CLOSE * max(wanted, 1e-6)


# --- grain and sharpness

def _smooth(pixels: Floats, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), np.float32)


def _grain(pixels: Floats, ring: Bits) -> Floats:
    """The noise's standard deviation in each channel on a ring, from second differences along both axes without the
    large ones, which are edges. Source: Immerkaer, "Fast Noise Variance Estimation" (1996)."""
    residue = cv2.filter2D(pixels, -1, _SECOND_DIFFERENCES, borderType=cv2.BORDER_REFLECT)[ring]
    most = 3 * np.median(np.abs(residue), 0)
    return np.asarray(residue.clip(-most, most).std(0) / 6, np.float32)


def _sharpness(pixels: Floats, ring: Bits) -> float:
    grey = _smooth(pixels @ LUMA, 1.5 * FINE)
    down, right = np.gradient(grey)
    return float(np.hypot(down, right)[ring].mean())


def _with_sharpness(pixels: Floats, outer: Bits, wanted: Look) -> Floats:
    """Blurred or sharpened until the gradient on the outer ring is `wanted`. Grain has a gradient too, so what is
    missing of it is added before that is measured."""
    sharpness = _sharpness(_with_grain(pixels, outer, wanted.grain), outer)
    if _is_close(sharpness, wanted.sharpness):
        return pixels
    if sharpness < wanted.sharpness:  # grain would be sharpened, too
        pixels = _without_grain(pixels, outer)
    low, high = (-SOFTEST, 0.0) if sharpness > wanted.sharpness else (0.0, SHARPEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        made = _sharpness(_with_grain(_filtered(pixels, middle), outer, wanted.grain), outer)
        low, high = (middle, high) if made < wanted.sharpness else (low, middle)
    return _filtered(pixels, (low + high) / 2)


def _filtered(pixels: Floats, amount: float) -> Floats:
    """Blurred by a sigma of -`amount` pixels, or sharpened by `amount`."""
    if amount < 0:
        return _smooth(pixels, -amount)
    return pixels + np.float32(amount) * (_smooth(pixels, FINE) - _smooth(pixels, 3 * FINE)) if amount else pixels


def _without_grain(pixels: Floats, ring: Bits) -> Floats:
    spread = max(float(_grain(pixels, ring).max()), 1)
    return np.asarray(cv2.bilateralFilter(pixels, 9, 6 * spread, 3), np.float32)


def _with_grain(pixels: Floats, ring: Bits, wanted: Floats) -> Floats:
    """Grain is smoothed away where there is too much on the ring. Then what is missing is added, as white noise."""
    own = _grain(pixels, ring)
    if _is_close(float(own.mean()), float(wanted.mean())):
        return pixels
    if own.mean() > wanted.mean():
        pixels = _without_grain(pixels, ring)
        own = _grain(pixels, ring)
    noise = np.random.default_rng(SEED).standard_normal(pixels.shape, np.float32)
    return np.asarray(pixels + np.sqrt(np.maximum(wanted**2 - own**2, 0)) * noise, np.float32)
