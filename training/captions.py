"""A scene said in words, English or Chinese, long or short, with synonyms and with things left unsaid."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from scenes import COLOURS, LANDS, OBJECTS, PLACES, PLAIN, POSITIONS, SIZES, STYLES, TIMES, Scene, held_out

PRAISE = ("high quality", "best quality, detailed", "cute", "beautiful", "masterpiece")
OPENINGS = ("a picture of", "an image of", "draw", "a cute picture of", "a photo of")


@dataclass(frozen=True)
class Said:
    """Which parts of a scene its caption mentions."""

    colours: bool = True
    background: bool = True
    sides: bool = True  # of two objects
    style: bool = True
    time: bool = True


def article(text: str) -> str:
    return f"{'an' if text[0] in 'aeiou' and not text.startswith('uni') else 'a'} {text}"


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def english(scene: Scene, rng: random.Random, said: Said) -> str:
    def noun(name: str, colour: str) -> str:
        coloured = said.colours and (len(OBJECTS[name].colours) > 1 or rng.random() < 0.15)
        return article(_joined(rng.choice(SIZES[scene.size][1]), colour if coloured else "",
                               rng.choice(OBJECTS[name].words)))

    what = [noun(*thing) for thing in scene.things]
    if len(what) == 2 and said.sides:
        subject = f"{what[0]} on the left and {what[1]} on the right"
    else:
        subject = f" {rng.choice(('and', 'and', 'next to', 'beside'))} ".join(what)
    where = ""
    if said.background and scene.background in PLAIN:
        colour = "gray" if scene.background == "grey" and rng.random() < 0.3 else scene.background
        where = rng.choice((f"on {article(colour)} background", f"on {article(colour)} background",
                            f"{colour} background"))
    elif said.background:
        where = rng.choice(PLACES[scene.background][0])
    time = ""
    if scene.time == "night" or (said.time and scene.background in LANDS and rng.random() < 0.15):
        time = rng.choice(TIMES[scene.time][0])
    position = rng.choice(POSITIONS[scene.position][2])
    parts = [subject, position, _joined(where, time)]
    if position and rng.random() < 0.25:
        parts = [subject, _joined(where, time), position]
    text = (", " if rng.random() < 0.2 else " ").join(part for part in parts if part)
    styled = rng.choice(STYLES[scene.style][0]) if said.style else ""
    if styled:
        text = f"{article(styled)} of {text}" if rng.random() > 0.4 else f"{text}, {styled}"
    elif rng.random() < 0.2:
        text = f"{rng.choice(OPENINGS)} {text}"
    return f"{text}, {rng.choice(PRAISE)}" if rng.random() < 0.1 else text


def chinese(scene: Scene, rng: random.Random, said: Said) -> str:
    def noun(name: str, colour: str) -> str:
        coloured = said.colours and (len(OBJECTS[name].colours) > 1 or rng.random() < 0.15)
        return (("一个" if rng.random() < 0.3 else "") + rng.choice(SIZES[scene.size][2])
                + (COLOURS[colour][3] + "的" * (rng.random() > 0.5) if coloured else "")
                + rng.choice(OBJECTS[name].chinese))

    what = [noun(*thing) for thing in scene.things]
    subject = "和".join(f"{side}{text}" for side, text in zip(("左边", "右边"), what, strict=False)) \
        if len(what) == 2 and said.sides else "和".join(what)
    where = ""
    if said.background and scene.background in PLAIN:
        where = f"{PLAIN[scene.background][1]}背景"
    elif said.background:
        where = rng.choice(PLACES[scene.background][1])
    time = rng.choice(TIMES["night"][1]) if scene.time == "night" else ""
    position = rng.choice(POSITIONS[scene.position][3])
    parts = [time + where, position, subject]
    if rng.random() < 0.4:
        parts = [position + subject, time + where]
    text = ("，" if rng.random() < 0.5 else "").join(part for part in parts if part)
    if said.style:
        styled = rng.choice(STYLES[scene.style][1])
        text = f"{styled}，{text}" if rng.random() > 0.4 else f"{text}，{styled}"
    return text


def caption(scene: Scene, rng: random.Random, in_chinese: bool = False) -> tuple[Scene, str, Said]:
    """The scene said in words. Now and then the colour is not said (the object then has its natural colour) or the
    background is not (then any may be drawn), so the scene that belongs to the words comes back with them, and what
    they mention."""
    colours = rng.random() > 0.12
    if not colours:
        natural = tuple((name, OBJECTS[name].colours[0]) for name, _ in scene.things)
        if any(c == scene.background or held_out(n, c, scene.background) for n, c in natural):
            colours = True
        else:
            scene = replace(scene, things=natural)
    background = rng.random() > 0.08 or scene.time == "night"
    said = Said(colours, background, sides=rng.random() < 0.5,
                style=scene.style != "3d" or rng.random() < 0.1)
    return scene, (chinese if in_chinese else english)(scene, rng, said), said


class _First(random.Random):
    """Always the first choice, and nothing that is only said now and then."""

    def random(self) -> float:
        return 0.99

    def choice(self, seq):  # type: ignore[no-untyped-def]
        return seq[0]


def plain_prompt(scene: Scene, in_chinese: bool = False) -> str:
    """The one full, plain prompt of a scene, as the evaluation asks it."""
    said = Said(sides=True, style=scene.style != "3d", time=False)
    return (chinese if in_chinese else english)(scene, _First(), said)
