"""What a picture shows: the things, colours, places and styles of the world, and how a scene is chosen.

A `Scene` is only words. `drawing.draw` renders one and `captions.caption` says one. Nothing here is random by itself:
every function takes its own `random.Random`.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass

SIZE = 256  # pixels a side


@dataclass(frozen=True)
class Thing:
    """An object: its picture's code point, its names, and which colours it comes in; the first is its natural one.

    hue and spread (degrees) say which part of the picture takes on another colour.
    """

    code: str
    words: tuple[str, ...]
    chinese: tuple[str, ...]
    colours: tuple[str, ...]
    hue: int = 0
    spread: int = 0
    stands: bool = True  # on the ground, so that it throws a shadow there


def _any(first: str) -> tuple[str, ...]:
    """All seven colours of the rainbow and pink, the natural one first."""
    return (first, *(c for c in ("red", "orange", "yellow", "green", "blue", "purple", "pink") if c != first))


OBJECTS: dict[str, Thing] = {
    "apple": Thing("1f34e", ("apple",), ("苹果",), ("red", "green", "yellow"), 355, 45),
    "cat": Thing("1f431", ("cat", "kitten", "kitty"), ("猫", "小猫", "猫咪"), ("orange", "grey", "white"), 38, 30),
    "dog": Thing("1f436", ("dog", "puppy"), ("狗", "小狗"), ("brown", "grey", "white"), 26, 34),
    "rabbit": Thing("1f430", ("rabbit", "bunny"), ("兔子", "小兔子"), ("white",)),
    "frog": Thing("1f438", ("frog",), ("青蛙",), ("green",)),
    "bird": Thing("1f426", ("bird",), ("鸟", "小鸟"), _any("red"), 346, 30),
    "penguin": Thing("1f427", ("penguin",), ("企鹅",), ("black",)),
    "fish": Thing("1f41f", ("fish",), ("鱼", "小鱼"), _any("blue"), 210, 60, stands=False),
    "butterfly": Thing("1f98b", ("butterfly",), ("蝴蝶",), _any("orange"), 8, 30, stands=False),
    "unicorn": Thing("1f984", ("unicorn",), ("独角兽",), ("white",)),
    "teddy bear": Thing("1f9f8", ("teddy bear", "teddy"), ("泰迪熊", "玩具熊"), ("brown",)),
    "tree": Thing("1f333", ("tree",), ("树", "大树"), ("green", "orange", "yellow", "pink"), 140, 60),
    "flower": Thing("1f33a", ("flower", "blossom"), ("花", "花朵"), _any("pink"), 322, 34),
    "mushroom": Thing("1f344", ("mushroom", "toadstool"), ("蘑菇",), _any("red"), 352, 34),
    "pumpkin": Thing("1f383", ("pumpkin", "jack-o-lantern"), ("南瓜", "南瓜灯"), ("orange",)),
    "cake": Thing("1f382", ("cake", "birthday cake"), ("蛋糕", "生日蛋糕"), ("yellow",)),
    "house": Thing("1f3e0", ("house", "home"), ("房子", "小屋"), ("orange",)),
    "car": Thing("1f697", ("car", "automobile"), ("汽车", "小汽车"), _any("red"), 345, 40),
    "boat": Thing("26f5", ("boat", "sailing boat", "sailboat"), ("船", "帆船"), _any("orange"), 28, 32,
                  stands=False),
    "rocket": Thing("1f680", ("rocket", "spaceship"), ("火箭",), _any("red"), 345, 26, stands=False),
    "balloon": Thing("1f388", ("balloon",), ("气球",), _any("red"), 350, 40, stands=False),
    "umbrella": Thing("2602-fe0f", ("umbrella", "parasol"), ("雨伞", "伞"), _any("purple"), 262, 45),
    "crown": Thing("1f451", ("crown",), ("皇冠", "王冠"), ("yellow",)),
    "heart": Thing("2764-fe0f", ("heart",), ("爱心", "心"), _any("red"), 345, 60, stands=False),
    "star": Thing("2b50", ("star",), ("星星", "星"), _any("yellow"), 42, 40, stands=False),
    "sun": Thing("1f31e", ("sun",), ("太阳",), ("yellow",), stands=False),
    "moon": Thing("1f319", ("moon", "crescent moon"), ("月亮", "弯月"), ("yellow",), stands=False),
    "cloud": Thing("2601-fe0f", ("cloud",), ("云", "云朵"), ("white",), stands=False),
}

# colour -> hue (degrees), saturation and value (0..1) that the recoloured part has on average, and the Chinese word
COLOURS: dict[str, tuple[float, float, float, str]] = {
    "red": (358, 0.82, 0.88, "红色"),
    "orange": (24, 0.80, 0.97, "橙色"),
    "yellow": (48, 0.75, 0.98, "黄色"),
    "green": (128, 0.62, 0.68, "绿色"),
    "blue": (214, 0.75, 0.88, "蓝色"),
    "purple": (272, 0.62, 0.72, "紫色"),
    "pink": (328, 0.42, 0.98, "粉色"),
    "brown": (24, 0.55, 0.60, "棕色"),
    "grey": (220, 0.07, 0.62, "灰色"),
    "white": (40, 0.05, 0.96, "白色"),
    "black": (250, 0.20, 0.20, "黑色"),
}

PLAIN: dict[str, tuple[tuple[int, int, int], str]] = {
    "white": ((246, 246, 248), "白色"),
    "grey": ((150, 150, 154), "灰色"),
    "black": ((24, 24, 28), "黑色"),
    "red": ((176, 32, 40), "红色"),
    "orange": ((232, 138, 62), "橙色"),
    "yellow": ((248, 226, 120), "黄色"),
    "green": ((70, 140, 84), "绿色"),
    "blue": ((74, 118, 200), "蓝色"),
    "purple": ((112, 72, 156), "紫色"),
    "pink": ((246, 178, 208), "粉色"),
}

PLACES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "beach": (("on the beach", "at the beach", "on a beach", "at the seaside"), ("沙滩上", "海边")),
    "grass": (("on the grass", "on green grass", "in a meadow"), ("草地上", "草原上")),
    "snow": (("in the snow", "on the snow", "in winter"), ("雪地上", "雪地里")),
    "forest": (("in the forest", "in a forest", "in the woods"), ("森林里", "树林里")),
    "city": (("in the city", "in a city", "in town"), ("城市里", "城里")),
    "desert": (("in the desert", "in a desert", "on sand dunes"), ("沙漠里", "沙漠中")),
    "night sky": (("in the night sky", "under a night sky", "among the stars"), ("夜空中", "星空中")),
}
LANDS = tuple(place for place in PLACES if place != "night sky")  # these have a day and a night
BACKGROUNDS: tuple[str, ...] = (*PLAIN, *PLACES)

TIMES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "day": (("by day", "during the day", "in daylight"), ("白天",)),
    "night": (("at night", "by night", "at night"), ("夜晚", "晚上")),
}

STYLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "3d": (("3d render", "glossy 3d", "3d"), ("3D渲染", "立体")),
    "flat": (("flat illustration", "flat design", "flat style"), ("扁平插画", "扁平风格")),
    "watercolour": (("watercolour", "watercolor painting", "watercolor"), ("水彩画", "水彩风格")),
}

SIZES: dict[str, tuple[float, tuple[str, ...], tuple[str, ...]]] = {
    "small": (0.46, ("small", "small", "little", "tiny"), ("小的", "小小的")),
    "normal": (0.66, ("",), ("",)),
    "big": (0.90, ("big", "big", "large", "huge"), ("大的", "巨大的")),
}

# position -> centre (x, y) as a part of the picture, for a normal and for a small object
POSITIONS: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[str, ...], tuple[str, ...]]] = {
    "centre": ((0.50, 0.50), (0.50, 0.50), ("",), ("",)),
    "left": ((0.34, 0.50), (0.25, 0.50), ("on the left",), ("左边",)),
    "right": ((0.66, 0.50), (0.75, 0.50), ("on the right",), ("右边",)),
    "above": ((0.50, 0.34), (0.50, 0.25), ("above", "at the top"), ("上面",)),
    "below": ((0.50, 0.66), (0.50, 0.75), ("below", "at the bottom"), ("下面",)),
}

PAIR_SIZE = 0.46
PAIR_CENTRES = ((0.26, 0.52), (0.74, 0.52))


@dataclass(frozen=True)
class Scene:
    """What a picture shows. With two objects the first stands on the left; size and position are then plain."""

    things: tuple[tuple[str, str], ...]  # (object, colour), one or two
    background: str
    size: str = "normal"
    position: str = "centre"
    time: str = "day"
    style: str = "3d"


def held_out(thing: str, colour: str, background: str) -> bool:
    """True for the tenth of all combinations that training never draws (one rule for everyone, no list to lose)."""
    return zlib.crc32(f"{thing}/{colour}/{background}".encode()) % 10 == 0


def sample_scene(rng: random.Random, held: bool | None = False, pairs: float = 0.2) -> Scene:
    """A random scene; held=False draws training combinations only, True held-out ones only, None any."""
    while True:
        background = rng.choice(list(PLAIN)) if rng.random() < 0.45 else rng.choice(list(PLACES))
        names = rng.sample(list(OBJECTS), 2 if rng.random() < pairs else 1)
        things = tuple((name, rng.choice(OBJECTS[name].colours)) for name in names)
        if any(colour == background for _, colour in things):
            continue  # a red apple on red is hard to see, for a judge too
        flags = [held_out(name, colour, background) for name, colour in things]
        if (held is False and any(flags)) or (held is True and not all(flags)):
            continue
        time = "night" if background in LANDS and rng.random() < 0.35 else "day"
        style = rng.choices(list(STYLES), (6, 2, 2))[0]
        if len(things) == 2:
            return Scene(things, background, time=time, style=style)
        size = rng.choices(list(SIZES), (3, 4, 3))[0]
        position = "centre"
        if size != "big" and rng.random() < 0.5:
            position = rng.choice([p for p in POSITIONS if p != "centre"])
        return Scene(things, background, size, position, time, style)
