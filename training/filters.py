"""Two styles made of glossy art by filters: flat, and watercolour."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter


def noise(height: int, width: int, cells: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of deviation about 1 with so many cells across, (height, width)."""
    per_pixel = cells / min(height, width)
    rows, columns = max(2, round(height * per_pixel)), max(2, round(width * per_pixel))
    small = Image.fromarray(rng.standard_normal((rows, columns)).astype(np.float32))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))
    return smooth / max(float(smooth.std()), 1e-6)


def blur(channel: np.ndarray, radius: float) -> np.ndarray:
    """Gaussian blur of an array (H, W) in 0..1."""
    image = Image.fromarray((channel * 255).round().clip(0, 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32) / 255


def flat(image: Image.Image, colours: int) -> Image.Image:
    """Few even colours with clean borders; RGB or RGBA, the alpha stays."""
    size, large = image.size, (image.width * 2, image.height * 2)
    smooth = image.convert("RGB")
    for _ in range(2):
        smooth = smooth.filter(ImageFilter.MedianFilter(5))
    palette = smooth.resize((96, 96), Image.Resampling.NEAREST).quantize(
        colours, method=Image.Quantize.MAXCOVERAGE, kmeans=2)
    few = smooth.resize(large, Image.Resampling.BICUBIC).quantize(palette=palette, dither=Image.Dither.NONE)
    out = few.convert("RGB").filter(ImageFilter.MedianFilter(5)).resize(size, Image.Resampling.BOX)
    if image.mode == "RGBA":
        out.putalpha(image.getchannel("A"))
    return out


def watercolour(rgb: np.ndarray, alpha: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pigment on white paper: uneven washes, ragged contours, and a darker rim where the colour dried.

    rgb (H, W, 3) and alpha (H, W) in 0..1, and the same again.
    """
    rng = np.random.default_rng(seed)
    height, width = alpha.shape
    unit = min(height, width)
    image = Image.fromarray((rgb * 255).round().clip(0, 255).astype(np.uint8))
    rgb = np.asarray(image.filter(ImageFilter.MedianFilter(2 * (unit // 100) + 1)), np.float32) / 255
    shift = [noise(height, width, 14, rng) * unit * 0.008 for _ in range(2)]
    y, x = np.mgrid[:height, :width]
    rows = np.clip(y + shift[0], 0, height - 1).round().astype(int)
    at = rows, np.clip(x + shift[1], 0, width - 1).round().astype(int)
    rgb, alpha = rgb[at], blur(alpha[at], unit / 300)
    wash = 0.70 + 0.09 * noise(height, width, 4, rng) + 0.03 * noise(height, width, 14, rng)
    rim = np.clip(alpha - blur(alpha, unit / 40), 0, 1)
    pigment = (1 - rgb) * (wash + 1.1 * rim)[..., None]
    return np.clip(1 - pigment, 0, 1), alpha


def paper(height: int, width: int, seed: int) -> np.ndarray:
    """How much of a wash lies where, 0..1 (H, W): nothing at the borders, which are ragged."""
    rng = np.random.default_rng(seed)
    unit = min(height, width)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    border = np.minimum(np.minimum(y, height - 1 - y), np.minimum(x, width - 1 - x)) / unit
    border = border + 0.010 * noise(height, width, 7, rng) + 0.004 * noise(height, width, 20, rng)
    return np.clip((border - 0.035) * 50, 0, 1)
