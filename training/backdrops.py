"""What stands behind the objects: plain colours, and seven drawn places, six of them by day and by night.

A place has a few variants, each drawn once, large and then reduced, so that contours are smooth.
"""

from __future__ import annotations

import random
from functools import lru_cache

import art
import filters
import numpy as np
from PIL import Image, ImageDraw
from scenes import PLAIN
from stored import stored

VARIANTS = 8
FINE = 2  # drawn at so many times the size

Colour = tuple[int, int, int]
DUSK = (0.42, 0.50, 0.74)  # what the night leaves of red, green and blue
NIGHT_SKY: tuple[Colour, Colour] = ((10, 14, 48), (52, 56, 124))
# place -> colours of the sky by day, top and bottom
SKIES: dict[str, tuple[Colour, Colour]] = {
    "beach": ((96, 184, 244), (200, 234, 250)),
    "grass": ((120, 198, 252), (222, 242, 252)),
    "snow": ((140, 176, 218), (214, 226, 240)),
    "forest": ((176, 222, 216), (228, 244, 222)),
    "city": ((132, 190, 240), (236, 232, 226)),
    "desert": ((250, 190, 112), (255, 236, 190)),
}


class Canvas:
    """A picture being drawn; places are parts of its width and height, 0..1."""

    def __init__(self, width: int, height: int, rng: random.Random, night: bool, folder: str) -> None:
        self.width, self.height, self.rng, self.night, self.folder = width, height, rng, night, folder
        self.image = Image.new("RGB", (width, height))

    def ramp(self, top: Colour, bottom: Colour) -> Image.Image:
        """A vertical gradient as large as the canvas."""
        y = np.linspace(0, 1, self.height, dtype=np.float32)[:, None, None]
        rows = np.asarray(top, np.float32) * (1 - y) + np.asarray(bottom, np.float32) * y
        return Image.fromarray(np.broadcast_to(rows, (self.height, self.width, 3)).round().astype(np.uint8))

    def shade(self, colour: Colour) -> Colour:
        """The colour as it looks at this time."""
        return tuple(round(c * f) for c, f in zip(colour, DUSK, strict=True)) if self.night else colour

    def sky(self, place: str) -> None:
        self.image = self.ramp(*(NIGHT_SKY if self.night else SKIES[place]))
        if self.night:
            self.dots(26, (0.002, 0.005), (0, 0.5), (255, 252, 230))

    def hill(self, level: float, swing: float, top: Colour, bottom: Colour, waves: float = 4) -> None:
        """Ground below a wavy line at `level`; top and bottom colour a gradient over the whole height."""
        phase = self.rng.uniform(0, 6.3)
        x = np.linspace(0, 1, 65)
        y = level + swing * np.sin(x * waves * self.rng.uniform(0.8, 1.25) + phase)
        mask = Image.new("L", self.image.size)
        line = [(a * self.width, b * self.height) for a, b in zip(x, y, strict=True)]
        ImageDraw.Draw(mask).polygon([(0, self.height), *line, (self.width, self.height)], fill=255)
        self.image.paste(self.ramp(self.shade(top), self.shade(bottom)), mask=mask)

    def dots(self, count: int, radius: tuple[float, float], rows: tuple[float, float], *colours: Colour) -> None:
        pen, unit = ImageDraw.Draw(self.image), min(self.width, self.height)
        for _ in range(count):
            r = self.rng.uniform(*radius) * unit
            x, y = self.rng.uniform(0, self.width), self.rng.uniform(*rows) * self.height
            pen.ellipse((x - r, y - r, x + r, y + r), fill=self.rng.choice(colours))

    def stand(self, code: str, x: float, base: float, tall: float, haze: float = 0.0, air: Colour = (255, 255, 255)
              ) -> None:
        """A picture of the art package whose foot is at (x, base); haze 0..1 makes it fade into the air."""
        side = round(tall * min(self.width, self.height))
        image = art.square(self.folder, code).resize((side, side), Image.Resampling.BICUBIC)
        rgb = np.asarray(image.convert("RGB"), np.float32)
        rgb = rgb * (1 - haze) + np.asarray(air, np.float32) * haze
        if self.night:
            rgb = rgb * np.float32(DUSK)
        box = round(x * self.width - side / 2), round(base * self.height - side)
        self.image.paste(Image.fromarray(rgb.round().astype(np.uint8)), box, image.getchannel("A"))

    def towers(self, base: float, tall: tuple[float, float], wall: Colour, pane: Colour, lit: float) -> None:
        """A row of houses with windows, of which the part `lit` shines."""
        pen, unit, x = ImageDraw.Draw(self.image), min(self.width, self.height), -0.03 * self.rng.random()
        while x < self.width / unit:
            wide, top = self.rng.uniform(0.11, 0.18), base * self.height / unit - self.rng.uniform(*tall)
            tone = self.rng.uniform(0.92, 1.08)
            pen.rectangle((x * unit, top * unit, (x + wide) * unit, self.height),
                          fill=tuple(min(255, round(c * tone)) for c in self.shade(wall)))
            columns = round(wide / 0.045)
            step = wide / columns
            for row in range(int((base * self.height / unit - top) / 0.05)):
                for column in range(columns):
                    left, up = (x + (column + 0.27) * step) * unit, (top + 0.02 + row * 0.05) * unit
                    shines = self.rng.random() < lit
                    pen.rectangle((left, up, left + 0.46 * step * unit, up + 0.026 * unit),
                                  fill=(255, 222, 130) if shines else self.shade(pane))
            x += wide + self.rng.uniform(0, 0.012)


def _beach(c: Canvas) -> None:
    c.hill(c.rng.uniform(0.42, 0.45), 0.0, (24, 110, 190), (70, 200, 210))
    shore = c.rng.uniform(0.60, 0.64)
    phase = c.rng.getstate()
    c.hill(shore - 0.018, 0.014, (250, 253, 253), (250, 253, 253), 9)
    c.rng.setstate(phase)  # the foam follows the sand
    c.hill(shore, 0.014, (255, 236, 186), (238, 204, 142), 9)
    c.stand("1f334", c.rng.choice((0.06, 0.94)), shore + 0.06, c.rng.uniform(0.50, 0.58))
    c.dots(5, (0.006, 0.009), (shore + 0.12, 0.97), (255, 250, 236), (246, 190, 170))


def _grass(c: Canvas) -> None:
    c.hill(c.rng.uniform(0.46, 0.50), 0.04, (150, 208, 130), (120, 190, 110))
    c.hill(c.rng.uniform(0.56, 0.60), 0.025, (150, 218, 86), (62, 150, 52))
    c.dots(22, (0.006, 0.010), (0.66, 0.98), (255, 255, 255), (255, 226, 90), (255, 160, 190))


def _snow(c: Canvas) -> None:
    c.hill(c.rng.uniform(0.46, 0.50), 0.05, (196, 212, 234), (188, 206, 230))
    for x in (0.08, 0.22, 0.80, 0.93):
        c.stand("1f332", x + c.rng.uniform(-0.03, 0.03), 0.61, c.rng.uniform(0.20, 0.28), 0.45, (232, 242, 252))
    c.hill(c.rng.uniform(0.57, 0.60), 0.02, (253, 254, 255), (222, 232, 246))
    c.dots(24, (0.005, 0.010), (0, 1), (255, 255, 255))


def _forest(c: Canvas) -> None:
    c.hill(0.54, 0.02, (176, 214, 176), (176, 214, 176))
    rows = (  # foot, height, haze, places
        (0.60, 0.46, 0.62, (0.0, 0.14, 0.28, 0.43, 0.57, 0.71, 0.86, 1.0)),
        (0.65, 0.58, 0.34, (-0.05, 0.10, 0.30, 0.70, 0.90, 1.05)),
        (0.71, 0.72, 0.0, (-0.03, 0.13, 0.88, 1.04)))
    for foot, tall, haze, places in rows:
        for x in places:
            c.stand("1f332", x + c.rng.uniform(-0.03, 0.03), foot, tall * c.rng.uniform(0.85, 1.1), haze,
                    (206, 234, 214))
    c.hill(c.rng.uniform(0.65, 0.67), 0.012, (120, 168, 84), (78, 110, 56))


def _city(c: Canvas) -> None:
    lit = 0.55 if c.night else 0.0
    c.towers(0.66, (0.34, 0.56), (168, 190, 216), (146, 172, 204), lit * 0.5)
    c.towers(0.68, (0.14, 0.36), (120, 142, 176), (206, 228, 246), lit)
    c.hill(0.67, 0.0, (150, 154, 164), (104, 108, 120))
    c.hill(0.70, 0.0, (96, 100, 112), (78, 82, 94))


def _desert(c: Canvas) -> None:
    c.hill(c.rng.uniform(0.50, 0.54), 0.05, (236, 178, 104), (226, 160, 90), 5)
    c.stand("1f335", c.rng.choice((0.09, 0.91)), 0.70, c.rng.uniform(0.30, 0.38))
    c.hill(c.rng.uniform(0.62, 0.65), 0.03, (246, 200, 124), (218, 150, 80), 4)


LANDS = {"beach": _beach, "grass": _grass, "snow": _snow, "forest": _forest, "city": _city, "desert": _desert}


def _drawn(folder: str, name: str, night: bool, variant: int, width: int, height: int) -> Image.Image:
    canvas = Canvas(width * FINE, height * FINE, random.Random(f"{name}/{variant}"), night, folder)
    if name in LANDS:
        canvas.sky(name)
        LANDS[name](canvas)
    else:
        canvas.image = canvas.ramp(*NIGHT_SKY)
        canvas.dots(34, (0.002, 0.006), (0, 1), (255, 252, 230))
        canvas.dots(5, (0.008, 0.010), (0, 1), (255, 250, 210))
    return canvas.image.resize((width, height), Image.Resampling.BOX)


def _plain(name: str, style: str, variant: int, width: int, height: int) -> Image.Image:
    """A plain colour; glossy pictures have a soft light in the middle."""
    base = np.asarray(PLAIN[name][0], np.float32) + (variant % 5 - 2) * 2.5
    y, x = np.mgrid[-1:1:height * 1j, -1:1:width * 1j].astype(np.float32)
    light = 0 * x if style == "flat" else 9 - 12 * (x * x + (y + 0.2) ** 2)
    return Image.fromarray((base + light[..., None]).clip(0, 255).round().astype(np.uint8))


@lru_cache(maxsize=1500)
def backdrop(folder: str, name: str, time: str, style: str, variant: int, width: int, height: int) -> Image.Image:
    """The background of a picture, RGB; kept on disk. Odd variants are even ones seen in a mirror."""
    key = (name, time, style, variant, width, height)
    return stored(folder, key, lambda: _styled(folder, *key))


def _styled(folder: str, name: str, time: str, style: str, variant: int, width: int, height: int) -> Image.Image:
    if name in PLAIN:
        image = _plain(name, style, variant, width, height)
    else:
        image = _drawn(folder, name, time == "night", variant // 2, width, height)
        if variant % 2:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if style == "flat" and name not in PLAIN:
        return filters.flat(image, 10)
    if style == "watercolour":
        rgb, full = np.asarray(image, np.float32) / 255, np.ones((height, width), np.float32)
        rgb, _ = filters.watercolour(rgb, full, variant)
        wash = filters.paper(height, width, variant)[..., None]
        return Image.fromarray(((1 - wash + wash * rgb) * 255).round().astype(np.uint8))
    return image
