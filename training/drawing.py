"""Draws a scene: its background, the shadows of what stands on the ground, and its one or two objects."""

from __future__ import annotations

import random
from functools import lru_cache
from pathlib import Path

import numpy as np
from art import sprite
from backdrops import VARIANTS, backdrop
from PIL import Image
from scenes import OBJECTS, PAIR_CENTRES, PAIR_SIZE, PLACES, POSITIONS, SIZE, SIZES, Scene

Place = tuple[float, tuple[float, float]]
"""How large a thing is, as a part of the picture's shorter side, and where its centre (x, y) is, as parts of both."""

HORIZON = 0.62  # of a place: above it nothing stands
JITTER = (0.95, 1.0, 1.05)


@lru_cache(maxsize=300)
def _shadow(width: int, height: int) -> Image.Image:
    """A soft ellipse, as a mask."""
    y, x = np.mgrid[-1:1:height * 1j, -1:1:width * 1j]
    return Image.fromarray((90 * np.clip(1 - x * x - y * y, 0, 1)).astype(np.uint8))


def places_of(scene: Scene) -> list[Place]:
    """Where a scene says that its things are."""
    if len(scene.things) == 2:
        return [(PAIR_SIZE, centre) for centre in PAIR_CENTRES]
    normal, small, _, _ = POSITIONS[scene.position]
    return [(SIZES[scene.size][0], small if scene.size == "small" else normal)]


def draw(scene: Scene, rng: random.Random, folder: str | Path, size: int | tuple[int, int] = SIZE,
         places: list[Place] | None = None) -> Image.Image:
    """The picture of a scene, RGB of size x size or of (width, height); rng moves things a little. places: where they
    are, when the scene's words do not say it."""
    width, height = (size, size) if isinstance(size, int) else size
    unit, folder = min(width, height), str(folder)
    variant = rng.randrange(VARIANTS)
    canvas = backdrop(folder, scene.background, scene.time, scene.style, variant, width, height).copy()
    for (name, colour), (scale, (cx, cy)) in zip(scene.things, places or places_of(scene), strict=True):
        side = round(unit * scale * rng.choice(JITTER))
        image = sprite(folder, name, colour, scene.style, side)
        x = round(width * (cx + rng.uniform(-0.02, 0.02)) - side / 2)
        y = round(height * (cy + rng.uniform(-0.02, 0.02)) - side / 2)
        foot = y + 0.97 * side
        grounded = scene.background != "night sky" and (scene.background not in PLACES or foot > HORIZON * height)
        if scene.style == "3d" and OBJECTS[name].stands and grounded:
            shadow = _shadow(side, max(2, round(side * 0.16)))
            canvas.paste((10, 12, 30), (x, round(foot - shadow.height / 2)), shadow)
        canvas.paste(image, (x, y), image)
    return canvas
