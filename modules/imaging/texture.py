"""Fills the new part of an outpainted picture with a texture made from the known part."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float64]

SEED = 0
"""The noise has a fixed seed, so that the texture of a picture is always the same."""


def continue_texture(image: Image.Image, known: Image.Image, *, fall_off: float,
                     colour_variation: float) -> Image.Image:
    """RGB `image` with the black part of L `known` (same size) replaced by texture in the colours of the rest.

    The texture is noise with the picture's spectrum. White noise, of which the share `colour_variation` differs between
    the channels, gets the magnitudes of the known part's Fourier transform, divided by frequency to the power of
    `fall_off` (0 keeps fine grain, 4 leaves soft clouds). Then its values are replaced by those of the known pixels, by
    rank and channel by channel. Near the edge it fades into the edge's colours, so that no seam is visible.
    """
    pixels = np.asarray(image.convert("RGB"), dtype=np.float64)
    inside = np.asarray(known.convert("L")) > 127
    if inside.all() or not inside.any():
        return image
    edge, distance = _edge_colours(pixels, inside)
    texture = _noise(edge, fall_off, colour_variation)
    for channel in range(3):
        texture[..., channel] = _with_values(texture[..., channel], pixels[..., channel][inside])
    reach = max(distance.max() / 4, 1.0)
    nearness = np.exp(-distance / reach)[..., None]
    filled = np.where(inside[..., None], pixels, edge * nearness + texture * (1 - nearness))
    return Image.fromarray(filled.round().clip(0, 255).astype(np.uint8))


def _edge_colours(pixels: Floats, inside: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """The colour of the nearest known pixel, (H, W, 3), and the distance to it in pixels, (H, W)."""
    from scipy.ndimage import distance_transform_edt

    distance, (rows, columns) = distance_transform_edt(~inside, return_indices=True)
    return pixels[rows, columns], distance


def _noise(edge: Floats, fall_off: float, colour_variation: float) -> Floats:
    """Noise (H, W, 3) with the magnitudes of `edge`'s spectrum over frequency ** fall_off."""
    height, width, _ = edge.shape
    random = np.random.default_rng(SEED)
    grey, colour = random.standard_normal((height, width, 1)), random.standard_normal((height, width, 3))
    white = grey * (1 - colour_variation) + colour * colour_variation
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = 1
    magnitudes = np.abs(np.fft.rfft2(edge - edge.mean((0, 1)), axes=(0, 1)))
    shaped = np.fft.rfft2(white, axes=(0, 1)) * magnitudes * (frequency ** -fall_off)[..., None]
    return np.fft.irfft2(shaped, s=(height, width), axes=(0, 1))


def _with_values(texture: Floats, values: Floats) -> Floats:
    """`texture` with its values replaced, by rank, by quantiles of `values`."""
    ranks = np.empty(texture.size)
    ranks[np.argsort(texture, axis=None)] = np.linspace(0, 1, texture.size)
    ordered = np.sort(values)
    return np.interp(ranks, np.linspace(0, 1, ordered.size), ordered).reshape(texture.shape)
