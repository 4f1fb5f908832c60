"""A picture continued beyond its edge with a texture of its own: what outpainting starts from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float64]

SEED = 0
"""The texture of a picture is always the same."""


def continue_texture(image: Image.Image, known: Image.Image, *, fall_off: float,
                     colour_variation: float) -> Image.Image:
    """RGB `image` with the black part of L `known` (same size) replaced by texture in the colours of the rest.

    The texture is noise with the picture's own spectrum: white noise, of which the share `colour_variation` differs
    from channel to channel, takes on the magnitudes of the known part's Fourier transform, divided by frequency to the
    power of `fall_off` (0 keeps fine grain, 4 leaves soft clouds); its values are then exchanged for the known
    pixels' by rank, channel for channel. Near the edge it fades into the edge's own colours, so that no seam shows.
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
    """Each pixel's nearest known colour (H, W, 3), and how far away that is (H, W)."""
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
    """`texture` with its values exchanged for those of the sorted `values`, the smallest for the smallest."""
    ranks = np.empty(texture.size)
    ranks[np.argsort(texture, axis=None)] = np.linspace(0, 1, texture.size)
    ordered = np.sort(values)
    return np.interp(ranks, np.linspace(0, 1, ordered.size), ordered).reshape(texture.shape)
