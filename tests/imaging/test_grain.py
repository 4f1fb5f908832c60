"""A patch gets the look of the photograph around it, measured here by other means than the program's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from modules.imaging.grain import fitted
from modules.imaging.mask import blur

SIZE = 640, 480
BOX = 200, 140, 440, 340
Floats = NDArray[np.float64]


def scene(softness: float, grain: float, shift: tuple[float, float, float], seed: int) -> Image.Image:
    """A texture blurred by `softness` pixels, with noise of deviation `grain`, moved by `shift`."""
    random = np.random.default_rng(seed)
    texture = ndimage.gaussian_filter(np.random.default_rng(0).normal(0, 1, SIZE[::-1]), 2)
    levels = 120 + 20 * ndimage.gaussian_filter(texture / texture.std(), softness)
    noise = random.normal(0, grain, (*SIZE[::-1], 3))
    return Image.fromarray(np.rint(levels[..., None] + np.array(shift) + noise).clip(0, 255).astype(np.uint8))


def mask(sigma: int) -> Image.Image:
    image = Image.new("L", SIZE)
    image.paste(255, BOX)
    return blur(image, sigma, sigma)


def measures(image: Image.Image, ring: NDArray[np.bool_]) -> dict[str, float]:
    """Mean of each channel, noise (from second differences, without the large ones of edges), and gradient of the
    smoothed luminance."""
    pixels = np.asarray(image, np.float64)
    differences = pixels[:, 2:] - 2 * pixels[:, 1:-1] + pixels[:, :-2]
    inside = differences[ring[:, 1:-1]]
    noise = np.clip(inside, *(3 * np.median(np.abs(inside)) * np.array((-1, 1)))).std() / np.sqrt(6)
    grey = ndimage.gaussian_filter(pixels.mean(-1), 1.5)
    gradient = np.hypot(ndimage.sobel(grey, 0), ndimage.sobel(grey, 1))[ring].mean()
    red, green, blue = pixels[ring].mean(0)
    return {"red": red, "green": green, "blue": blue, "noise": noise, "gradient": gradient}


def differences(image: Image.Image, photograph: Image.Image, edge: int) -> dict[str, float]:
    """By which share the measures in the ring inside differ from those outside. The mask's soft edge has `edge` pixels
    on either side."""
    painted = np.zeros(SIZE[::-1], bool)
    painted[BOX[1]:BOX[3], BOX[0]:BOX[2]] = True
    whole = ndimage.binary_erosion(painted, iterations=edge) if edge else painted
    rest = ~(ndimage.binary_dilation(painted, iterations=edge) if edge else painted)
    inner = whole & ~ndimage.binary_erosion(whole, iterations=14)
    outer = rest & ndimage.binary_dilation(~rest, iterations=14)
    inside, outside = measures(image, inner), measures(photograph, outer)
    return {name: abs(inside[name] / outside[name] - 1) for name in outside}


@pytest.mark.parametrize(("photograph", "patch"), [
    ((1, 6, (0, 0, 0)), (1, 0.5, (0, 0, 0))),
    ((1, 2, (0, 0, 0)), (1, 6, (0, 0, 0))),
    ((0.3, 3, (0, 0, 0)), (2, 3, (0, 0, 0))),
    ((2, 3, (0, 0, 0)), (0.3, 3, (0, 0, 0))),
    ((1, 3, (0, 0, 0)), (1, 3, (-30, 24, 20))),
    ((1, 5, (-20, 0, 10)), (2, 0.5, (0, 20, -20))),
    ((2, 1, (-20, 0, 10)), (0.5, 4, (0, 20, -20))),
], ids=["too little grain", "too much", "too soft", "too sharp", "another colour", "soft, smooth and tinted",
        "sharp, noisy and tinted"])
@pytest.mark.parametrize("sigma", [0, 4])
def test_the_ring_inside_comes_within_a_tenth_of_the_ring_outside(photograph: Any, patch: Any, sigma: int) -> None:
    original, drawn, paint = scene(*photograph, seed=1), scene(*patch, seed=2), mask(sigma)
    before = differences(drawn, original, 2 * sigma)
    patch_fitted = fitted(drawn.convert("RGBA"), original, paint, 1).convert("RGB")
    after = differences(Image.composite(patch_fitted, original, paint), original, 2 * sigma)
    assert max(before.values()) > 0.1
    assert all(share <= 0.1 for name, share in after.items() if before[name] > 0.1), (before, after)


def test_what_is_new_keeps_its_colour_and_strength_0_changes_nothing() -> None:
    """The network has drawn the surroundings as they are, and something red inside."""
    original, paint = scene(1, 3, (0, 0, 0), seed=1), mask(0)
    drawn = original.copy()
    drawn.paste(scene(1, 3, (80, -40, -60), seed=2).crop(BOX), BOX[:2])
    drawn.putalpha(255)
    inside = np.asarray(drawn.convert("RGB").crop(BOX), float)
    after = np.asarray(fitted(drawn, original, paint, 1).convert("RGB").crop(BOX), float)
    assert np.abs(after.mean((0, 1)) - inside.mean((0, 1))).max() < 1
    assert fitted(drawn, original, paint, 0).tobytes() == drawn.tobytes()


def test_a_patch_without_surroundings_stays_as_it_is() -> None:
    original, paint = scene(1, 3, (0, 0, 0), seed=1), mask(0)
    drawn = Image.new("RGBA", SIZE)
    drawn.paste(scene(1, 0, (0, 0, 0), seed=2).crop(BOX), BOX[:2])
    assert fitted(drawn, original, paint, 1).tobytes() == drawn.tobytes()
