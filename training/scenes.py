"""Draws the training pictures: one or two glossy objects, recoloured, on a plain background or a drawn scene.

A `Scene` says what is in the picture; `draw` renders it and `caption` says it in English or Chinese. Nothing here is
random by itself: every function takes its own `random.Random`.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 128  # pixels a side


@dataclass(frozen=True)
class Thing:
    """An object: its picture's code point, its Chinese name, and the hue range (degrees) that takes on a new colour."""

    code: str
    chinese: str
    hue: int
    spread: int
    natural: str
    words: tuple[str, ...]


OBJECTS: dict[str, Thing] = {
    "apple": Thing("1f34e", "苹果", 355, 45, "red", ("apple",)),
    "heart": Thing("2764-fe0f", "爱心", 345, 60, "red", ("heart",)),
    "star": Thing("2b50", "星星", 42, 40, "yellow", ("star",)),
    "cat": Thing("1f431", "猫", 38, 26, "orange", ("cat", "cat", "kitten")),
    "mushroom": Thing("1f344", "蘑菇", 352, 34, "red", ("mushroom",)),
    "car": Thing("1f697", "汽车", 345, 40, "red", ("car",)),
    "fish": Thing("1f41f", "鱼", 210, 60, "blue", ("fish",)),
    "tree": Thing("1f333", "树", 140, 60, "green", ("tree",)),
    "umbrella": Thing("2602-fe0f", "雨伞", 262, 45, "purple", ("umbrella",)),
    "bird": Thing("1f424", "小鸟", 40, 40, "yellow", ("bird", "bird", "chick")),
}

# what the UNet is taught; the others have their words and pictures, for a longer run
TAUGHT: tuple[str, ...] = ("apple", "heart", "star", "cat", "tree", "fish")

# colour -> hue (degrees), saturation and value (0..1) that the recoloured part has on average, and the Chinese word
COLOURS: dict[str, tuple[float, float, float, str]] = {
    "red": (358, 0.82, 0.88, "红色"),
    "orange": (24, 0.80, 0.97, "橙色"),
    "yellow": (48, 0.75, 0.98, "黄色"),
    "green": (128, 0.62, 0.68, "绿色"),
    "blue": (214, 0.75, 0.88, "蓝色"),
    "purple": (272, 0.62, 0.72, "紫色"),
    "pink": (328, 0.42, 0.98, "粉色"),
}

PLAIN: dict[str, tuple[tuple[int, int, int], str]] = {
    "white": ((248, 248, 248), "白色"),
    "grey": ((150, 150, 154), "灰色"),
    "black": ((22, 22, 26), "黑色"),
    "red": ((176, 32, 40), "红色"),
    "orange": ((232, 138, 62), "橙色"),
    "yellow": ((248, 226, 120), "黄色"),
    "green": ((70, 140, 84), "绿色"),
    "blue": ((74, 118, 200), "蓝色"),
    "purple": ((112, 72, 156), "紫色"),
    "pink": ((246, 178, 208), "粉色"),
}

PLACES: dict[str, tuple[tuple[str, ...], str]] = {
    "beach": (("on the beach", "on a beach"), "沙滩上"),
    "grass": (("on the grass", "on green grass"), "草地上"),
    "night sky": (("in the night sky", "under a night sky"), "夜空中"),
    "snow": (("in the snow", "on the snow"), "雪地上"),
}

BACKGROUNDS: tuple[str, ...] = (*PLAIN, *PLACES)

SIZES: dict[str, tuple[float, tuple[str, ...], str]] = {
    "small": (0.50, ("small", "small", "little"), "小的"),
    "normal": (0.68, ("",), ""),
    "big": (0.92, ("big", "big", "large"), "大的"),
}

# position -> centre (x, y) as a part of the picture, for a normal and for a small object
POSITIONS: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[str, ...], str]] = {
    "centre": ((0.50, 0.50), (0.50, 0.50), ("",), ""),
    "left": ((0.34, 0.50), (0.26, 0.50), ("on the left",), "左边"),
    "right": ((0.66, 0.50), (0.74, 0.50), ("on the right",), "右边"),
    "above": ((0.50, 0.34), (0.50, 0.26), ("above", "at the top"), "上面"),
    "below": ((0.50, 0.66), (0.50, 0.74), ("below", "at the bottom"), "下面"),
}

PAIR_SIZE = 0.46
PAIR_CENTRES = ((0.26, 0.50), (0.74, 0.50))


@dataclass(frozen=True)
class Scene:
    """What a picture shows. With two objects the first stands on the left; size and position are then plain."""

    things: tuple[tuple[str, str], ...]  # (object, colour), one or two
    background: str
    size: str = "normal"
    position: str = "centre"


def held_out(thing: str, colour: str, background: str) -> bool:
    """True for the tenth of all combinations that training never draws (one rule for everyone, no list to lose)."""
    return zlib.crc32(f"{thing}/{colour}/{background}".encode()) % 10 == 0


def sample_scene(rng: random.Random, held: bool | None = False, pairs: float = 0.0,
                 names: tuple[str, ...] = TAUGHT) -> Scene:
    """A random scene of `names`; held=False draws training combinations only, True held-out ones only, None any."""
    while True:
        count = 2 if rng.random() < pairs else 1
        background = rng.choice(BACKGROUNDS)
        chosen = rng.sample(list(names), count)
        things = tuple((name, rng.choice(list(COLOURS))) for name in chosen)
        if any(colour == background for _, colour in things):
            continue  # a red apple on red is hard to see, for a judge too
        flags = [held_out(name, colour, background) for name, colour in things]
        if (held is False and any(flags)) or (held is True and not all(flags)):
            continue
        if count == 2:
            return Scene(things, background)
        size = rng.choices(list(SIZES), (4, 4, 3))[0]
        position = "centre"
        if size != "big" and rng.random() < 0.6:
            position = rng.choice([p for p in POSITIONS if p != "centre"])
        return Scene(things, background, size, position)


# ---------------------------------------------------------------- drawing


@cache
def _art(folder: str, name: str) -> Image.Image:
    """The object's picture, 256 x 256 RGBA, cropped to what is visible and centred in a square."""
    image = Image.open(Path(folder) / f"{OBJECTS[name].code}.webp").convert("RGBA")
    image = image.crop(image.getchannel("A").point(lambda a: 255 * (a > 16)).getbbox())
    side = max(image.size)
    square = Image.new("RGBA", (side, side))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


@cache
def recolour(folder: str, name: str, colour: str) -> Image.Image:
    """The object in another colour: pixels of its main hue take the new hue, saturation and brightness."""
    thing, art = OBJECTS[name], _art(folder, name)
    rgba = np.asarray(art).astype(np.float32) / 255
    hsv = np.asarray(art.convert("RGB").convert("HSV")).astype(np.float32) / 255
    offset = (hsv[..., 0] * 360 - thing.hue + 180) % 360 - 180
    inside = np.clip((thing.spread - np.abs(offset)) / 8, 0, 1) * np.clip((hsv[..., 1] - 0.12) / 0.1, 0, 1)
    weight = inside * rgba[..., 3]
    mean_s = (hsv[..., 1] * weight).sum() / weight.sum()
    mean_v = (hsv[..., 2] * weight).sum() / weight.sum()
    hue, saturation, value, _ = COLOURS[colour]
    new = np.stack([
        ((hue + 0.2 * offset) % 360) / 360,
        np.clip(hsv[..., 1] * saturation / mean_s, 0, 1),
        np.clip(hsv[..., 2] * value / mean_v, 0, 1),
    ], -1)
    painted = Image.fromarray((new * 255).round().astype(np.uint8), "HSV").convert("RGB")
    out = np.asarray(painted).astype(np.float32) / 255 * inside[..., None] + rgba[..., :3] * (1 - inside[..., None])
    out = np.concatenate([out, rgba[..., 3:]], -1)
    return Image.fromarray((out * 255).round().astype(np.uint8), "RGBA")


def _ramp(top: tuple[float, ...], bottom: tuple[float, ...], size: int) -> np.ndarray:
    """A vertical gradient, (size, size, 3) in 0..255."""
    y = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    ramp = np.asarray(top, np.float32) * (1 - y) + np.asarray(bottom, np.float32) * y
    return np.broadcast_to(ramp, (size, size, 3)).copy()


def _dots(canvas: np.ndarray, rng: random.Random, count: int, radius: tuple[float, float]) -> None:
    """Soft white dots, in place."""
    size = canvas.shape[0]
    y, x = np.mgrid[:size, :size].astype(np.float32)
    for _ in range(count):
        r = rng.uniform(*radius) * size / 128
        cx, cy = rng.uniform(0, size), rng.uniform(0, size)
        alpha = np.clip(r + 0.5 - np.hypot(x - cx, y - cy), 0, 1)[..., None]
        canvas += (255 - canvas) * alpha


def background(name: str, rng: random.Random, size: int = SIZE) -> np.ndarray:
    """The background, (size, size, 3) float in 0..255."""
    if name in PLAIN:
        base = np.asarray(PLAIN[name][0], np.float32) + rng.uniform(-5, 5)
        return _ramp(tuple(base + 4), tuple(base - 4), size)
    x = np.linspace(0, 1, size, dtype=np.float32)[None, :]
    y = np.linspace(0, 1, size, dtype=np.float32)[:, None]

    def below(line: np.ndarray) -> np.ndarray:
        return np.clip((y - line) * size + 0.5, 0, 1)[..., None]

    if name == "beach":
        canvas = _ramp((110, 190, 240), (190, 228, 248), size)
        sea, shore = rng.uniform(0.40, 0.46), rng.uniform(0.60, 0.66)
        canvas += (_ramp((30, 110, 180), (64, 190, 205), size) - canvas) * below(0 * x + sea)
        wave = shore + 0.018 * np.sin(x * rng.uniform(9, 13) + rng.uniform(0, 6))
        canvas += (np.float32([250, 252, 252]) - canvas) * below(wave - 0.02)
        return canvas + (_ramp((252, 232, 180), (232, 200, 140), size) - canvas) * below(wave)
    if name == "grass":
        canvas = _ramp((130, 200, 250), (215, 238, 252), size)
        hill = rng.uniform(0.54, 0.60) + 0.03 * np.sin(x * rng.uniform(3, 5) + rng.uniform(0, 6))
        return canvas + (_ramp((150, 215, 90), (70, 155, 55), size) - canvas) * below(hill)
    if name == "snow":
        canvas = _ramp((150, 180, 215), (205, 220, 238), size)
        drift = rng.uniform(0.58, 0.64) + 0.025 * np.sin(x * rng.uniform(3, 5) + rng.uniform(0, 6))
        canvas += (_ramp((252, 253, 255), (226, 234, 246), size) - canvas) * below(drift)
        _dots(canvas, rng, 16, (1.2, 2.2))
        return canvas
    canvas = _ramp((14, 16, 52), (44, 46, 112), size)
    _dots(canvas, rng, 18, (0.7, 1.5))
    return canvas


def draw(scene: Scene, rng: random.Random, art: str | Path, size: int = SIZE) -> Image.Image:
    """The picture of a scene, size x size RGB; rng moves things a little."""
    canvas = Image.fromarray(background(scene.background, rng, size).clip(0, 255).astype(np.uint8))
    if len(scene.things) == 2:
        places = [(PAIR_SIZE, centre) for centre in PAIR_CENTRES]
    else:
        normal, small, _, _ = POSITIONS[scene.position]
        places = [(SIZES[scene.size][0], small if scene.size == "small" else normal)]
    for (name, colour), (scale, (cx, cy)) in zip(scene.things, places, strict=True):
        side = round(size * scale * rng.uniform(0.95, 1.05))
        sprite = recolour(str(art), name, colour).resize((side, side), Image.Resampling.BOX, reducing_gap=2.0)
        x = round(size * (cx + rng.uniform(-0.02, 0.02)) - side / 2)
        y = round(size * (cy + rng.uniform(-0.02, 0.02)) - side / 2)
        canvas.paste(sprite, (x, y), sprite)
    return canvas


# ---------------------------------------------------------------- captions


def _english(scene: Scene, rng: random.Random, named: bool, placed: bool) -> str:
    def noun(name: str, colour: str, size: str) -> str:
        word = rng.choice(OBJECTS[name].words)
        words = [rng.choice(SIZES[size][1]), colour if named else "", word]
        text = " ".join(w for w in words if w)
        return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"

    where = ""
    if placed and scene.background in PLAIN:
        colour = "gray" if scene.background == "grey" and rng.random() < 0.3 else scene.background
        article = "an" if colour[0] in "aeiou" else "a"
        where = rng.choice([f"on {article} {colour} background", f"on {article} {colour} background",
                            f"{colour} background"])
    elif placed:
        where = rng.choice(PLACES[scene.background][0])
    what = " and ".join(noun(name, colour, scene.size) for name, colour in scene.things)
    position = rng.choice(POSITIONS[scene.position][2])
    parts = [what, position, where]
    if position and rng.random() < 0.25:
        parts = [what, where, position]
    text = (", " if rng.random() < 0.2 else " ").join(p for p in parts if p)
    if rng.random() < 0.25:
        filler = ("a photo of", "a picture of", "an image of", "a drawing of", "draw", "a cute picture of")
        text = f"{rng.choice(filler)} {text}"
    if rng.random() < 0.12:
        text += rng.choice((", high quality", ", 3d render", ", glossy", ", best quality, detailed", ", cute", "."))
    return text


def _chinese(scene: Scene, rng: random.Random, named: bool, placed: bool) -> str:
    where = ""
    if placed:
        plain = scene.background in PLAIN
        where = f"{PLAIN[scene.background][1]}背景" if plain else PLACES[scene.background][1]
    size, position = SIZES[scene.size][2], POSITIONS[scene.position][3]
    what = "和".join(
        f"{'一个' if rng.random() < 0.4 else ''}{size}"
        f"{COLOURS[colour][3] + '的' * (rng.random() < 0.4) if named else ''}"
        f"{OBJECTS[name].chinese}" for name, colour in scene.things)
    parts = [p for p in (where, position, what) if p]
    if rng.random() < 0.4:
        parts = [p for p in (position + what, where) if p]
    return ("，" if rng.random() < 0.5 else "").join(parts)


def caption(scene: Scene, rng: random.Random, chinese: bool = False) -> tuple[Scene, str]:
    """The scene said in words. Now and then the colour is not said (the object then has its natural colour) or the
    background is not (then any may be drawn), so the scene that belongs to the words comes back with them."""
    named, placed = rng.random() > 0.10, rng.random() > 0.08
    if not named:
        natural = tuple((name, OBJECTS[name].natural) for name, _ in scene.things)
        if any(c == scene.background or held_out(n, c, scene.background) for n, c in natural):
            named = True
        else:
            scene = Scene(natural, scene.background, scene.size, scene.position)
    return scene, (_chinese if chinese else _english)(scene, rng, named, placed)


def plain_prompt(scene: Scene, chinese: bool = False) -> str:
    """The one full, plain prompt of a scene, as the evaluation asks it."""

    class First(random.Random):
        def random(self) -> float:
            return 0.99

        def choice(self, seq):  # type: ignore[no-untyped-def]
            return seq[0]

    return (_chinese if chinese else _english)(scene, First(), True, True)


