"""Photographs and other pictures that Python packages ship, so that the autoencoder knows more than our drawings."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
from PIL import Image

HELD_OUT = ("chelsea.png", "coffee.png", "rocket.jpg")  # the autoencoder never trains on these
TRAINING = ("astronaut.png", "motorcycle_left.png", "motorcycle_right.png", "hubble_deep_field.jpg", "retina.jpg",
            "ihc.png", "camera.png", "grass.png", "gravel.png", "brick.png", "moon.png", "coins.png", "china.jpg",
            "flower.jpg")
OFTEN = ("astronaut.png", "motorcycle_left.png", "china.jpg", "flower.jpg")


def load(folder: Path, names: tuple[str, ...]) -> list[Image.Image]:
    return [Image.open(folder / name).convert("RGB") for name in names if (folder / name).exists()]


def crop(photo: Image.Image, rng: random.Random, size: int, scales: tuple[float, float] = (0.35, 1.0)) -> np.ndarray:
    """A random square of a photograph, made smaller by a random scale: (size, size, 3) uint8."""
    low = max(scales[0], size / min(photo.size))
    side = min(int(size / rng.uniform(min(low, scales[1]), scales[1])), *photo.size)
    x, y = rng.randint(0, photo.width - side), rng.randint(0, photo.height - side)
    square = photo.resize((size, size), Image.Resampling.BOX, (x, y, x + side, y + side), reducing_gap=2.0)
    out = np.asarray(square)
    if rng.random() < 0.5:
        out = out[:, ::-1]
    return np.ascontiguousarray(out)


def detailed(picture: np.ndarray, rng: random.Random, size: int, grid: int = 1) -> tuple[int, int]:
    """The corner (y, x), on a grid of pixels, of the most detailed of three random squares of a picture (H, H, 3): flat
    backgrounds teach little."""
    room = (picture.shape[0] - size) // grid
    corners = [(grid * rng.randint(0, room), grid * rng.randint(0, room)) for _ in range(3)]
    return max(corners, key=lambda at: float(
        picture[at[0]: at[0] + size: 4, at[1]: at[1] + size: 4].astype(np.float32).std()))
