"""Colour correction: a result gets the colours of the picture it was made from and keeps its own lightness."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def match_colours(image: Image.Image, target: Image.Image) -> Image.Image:
    """RGB `image` with the histogram of `target` in each channel of CIE Lab, and with its own luminosity.

    Source: WebUI's `apply_color_correction` (img2img_color_correction).
    """
    lab, wanted = (np.asarray(cv2.cvtColor(np.asarray(one), cv2.COLOR_RGB2LAB), np.uint8) for one in (image, target))
    matched = np.stack([_match_histogram(lab[..., c], wanted[..., c]) for c in range(3)], axis=-1)
    corrected = Image.fromarray(cv2.cvtColor(matched, cv2.COLOR_LAB2RGB))
    return with_luminosity(corrected, image)


def _match_histogram(values: Pixels, target: Pixels) -> Pixels:
    """Map `values` so that their cumulative histogram follows that of `target`. Levels are truncated, not rounded."""
    counts, wanted = np.bincount(values.ravel(), minlength=256), np.bincount(target.ravel())
    present = np.nonzero(wanted)[0]
    quantiles = np.cumsum(counts) / values.size
    mapping = np.interp(quantiles, np.cumsum(wanted[present]) / target.size, present)
    return mapping[values].astype(np.uint8)


def with_luminosity(colours: Image.Image, luminosity: Image.Image) -> Image.Image:
    """The blend mode "luminosity": hue and saturation of RGB `colours`, luminosity of RGB `luminosity`."""
    base, top = (np.asarray(one, dtype=np.float64) / 255 for one in (colours, luminosity))
    moved = base + ((top - base) @ LUMA)[..., None]
    return Image.fromarray((_into_gamut(moved) * 255).astype(np.uint8))


def _into_gamut(colours: Floats) -> Floats:
    """Move each colour towards its own grey until every channel is in [0, 1] (W3C `ClipColor`)."""
    grey = (colours @ LUMA)[..., None]
    low, high = colours.min(-1, keepdims=True), colours.max(-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        colours = np.where(low < 0, grey + (colours - grey) * grey / (grey - low), colours)
        colours = np.where(high > 1, grey + (colours - grey) * (1 - grey) / (high - grey), colours)
    return np.clip(colours, 0, 1)
