"""python -m benchmarks small_masks: what modules/sampling/small_masks.py saves, and how close to dense it stays.

The cost is the time from the first network call to the end of the last, classic DDIM with 20 steps at strength 0.75 and
Stable Diffusion 1.5's size; the window's own packing is in it. The quality is the PSNR inside the mask against the
dense picture with the embedded checkpoint, on four scenes that it has drawn and on four photographs of scikit-image's;
and on the same the seam: how much colour and slope jump across the edge of a hard mask (benchmarks/seam.py), against
the dense picture's jumps at the same places.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from benchmarks.checkpoints import checkpoint
from benchmarks.picture import lines
from benchmarks.seam import jumps
from benchmarks.timing import Row
from modules.engine.engine import resolve
from modules.generation import recipes
from modules.networks.loader import load_model
from modules.networks.model import DiffusionModel
from modules.request import Inpaint, Txt2Img
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.sampling.conditioning import Conditioning
from modules.sampling.levels import stable_diffusion
from modules.weights.catalog import CheckpointFile

AREAS = (0.01, 0.05, 0.2, 0.5)
MODES = ("auto", "strong")
TARGETS = {(0.01, "strong"): 0.2, (0.05, "strong"): 0.35}
STEPS, STRENGTH = 20, 0.75
SCENE_SIZE, TILE = 256, 168
SHOWN_AREA = 0.12
SCENES = ("a red heart on a pink background", "a green apple on the grass", "a yellow star on the beach",
          "a blue tree in the snow")
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket")
ASKED = ("a yellow star", "a blue heart", "a red apple", "a green tree")


def run(cache: Path, *, size: int, picture: Path | None) -> list[Row]:
    """The rows; with `picture` also small_masks.svg, a plot of the costs, and small_masks.jpg, results, beside it."""
    rows, costs = cost(load("sd15", cache), size)
    model = load("default", cache)
    for area in (AREAS[0], AREAS[1], SHOWN_AREA):
        cases = [(original, prompt, square(SCENE_SIZE, area, seed))
                 for seed, (original, prompt) in enumerate(originals(model))]
        found = [compare(model, *case) for case in cases]
        rows += quality(found, [mask for *_, mask in cases], area) + seams(model, cases, area)
    if picture:
        picture.with_name("small_masks.svg").write_text(lines(
            costs, "Cost of small masks against the dense run, by painted area", "%", "painted area, % of the picture"))
        sheet(cases, found).save(picture.with_name("small_masks.jpg"), quality=88)
    return rows


def load(name: str, cache: Path) -> DiffusionModel:
    path = checkpoint(name, cache)
    return load_model(CheckpointFile(path, path.name), device=torch.device("cpu"), dtype=torch.float32)


# --- what it costs

def cost(model: DiffusionModel, size: int) -> tuple[list[Row], dict[str, list[tuple[float, float]]]]:
    """(the rows, for each mode the points (painted %, cost %))."""
    from benchmarks.steps import Clock, scene

    clock = Clock(model.unet)
    original, _ = scene(size)

    def seconds(mode: str, area: float) -> float:
        clock.during(lambda: paint(model, original, "a lighthouse", square(size, area, 0), mode))
        return clock.ended[-1] - clock.begun[0]

    model.predict(torch.randn(2, 4, size // 8, size // 8), stable_diffusion().at_t(1),
                  Conditioning(torch.randn(2, 77, 768)))  # packs
    dense = seconds("off", AREAS[0])
    rows, points = [], {mode: [] for mode in MODES}
    for area in AREAS:
        for mode in MODES:
            took = seconds(mode, area)
            rows.append(Row(f"{area:.0%} painted, {mode}, sd15 {size} x {size}", took, dense, "dense", "s",
                            TARGETS.get((area, mode))))
            points[mode].append((area * 100, took / dense * 100))
            print(f"{rows[-1].what}: {rows[-1].ratio:.3f}", flush=True)
    return rows, points


def square(size: int, area: float, seed: int) -> Image.Image:
    """A mask with a square somewhere that covers `area` of it."""
    mask, side = Image.new("L", (size, size)), round(math.sqrt(area) * size)
    left, top = (random.Random(f"{seed} {axis}").randrange(size - side) for axis in "xy")
    ImageDraw.Draw(mask).rectangle((left, top, left + side - 1, top + side - 1), fill=255)
    return mask


def paint(model: DiffusionModel, original: Image.Image, prompt: str, mask: Image.Image, mode: str,
          blur: int = 4) -> Image.Image:
    """One inpainting at the original's size."""
    request = Inpaint(prompt=prompt, seed=1, subseed=0, steps=STEPS, cfg_scale=3.0, denoising_strength=STRENGTH,
                      width=original.width, height=original.height, init_images=(original,), mask=mask,
                      mask_blur_x=blur, mask_blur_y=blur, options=Options(small_mask=mode))
    (picture,) = recipes.generate(lambda *_: model, resolve(request), NullJob()).pictures
    return picture.image.convert("RGB")


# --- how near it stays

def originals(model: DiffusionModel) -> list[tuple[Image.Image, str]]:
    """Four scenes and four photographs, with what to paint into them."""
    try:
        from skimage import data
    except ImportError as error:
        raise SystemExit("The photographs come from scikit-image: pip install scikit-image") from error
    scenes = [draw_scene(model, prompt, seed) for seed, prompt in enumerate(SCENES)]
    photographs = [Image.fromarray(getattr(data, name)()).resize((SCENE_SIZE, SCENE_SIZE)) for name in PHOTOGRAPHS]
    return list(zip(scenes + photographs, 2 * ASKED, strict=True))


def draw_scene(model: DiffusionModel, prompt: str, seed: int) -> Image.Image:
    """What the checkpoint draws at its own size, mirrored outwards to twice that."""
    request = Txt2Img(prompt=prompt, seed=seed, subseed=0, steps=STEPS, cfg_scale=3.0, width=SCENE_SIZE // 2,
                      height=SCENE_SIZE // 2)
    (picture,) = recipes.generate(lambda *_: model, resolve(request), NullJob()).pictures
    edge = SCENE_SIZE // 4
    return Image.fromarray(np.pad(np.asarray(picture.image), ((edge, edge), (edge, edge), (0, 0)), mode="reflect"))


def compare(model: DiffusionModel, original: Image.Image, prompt: str, mask: Image.Image,
            blur: int = 4) -> dict[str, Image.Image]:
    """The dense picture ("off") and those of the other modes."""
    return {mode: paint(model, original, prompt, mask, mode, blur) for mode in ("off", *MODES)}


def quality(found: Sequence[dict[str, Image.Image]], masks: Sequence[Image.Image], area: float) -> list[Row]:
    """How close to dense the other modes stay inside the mask."""
    rows = []
    for mode in MODES:
        close = statistics.median(psnr(made["off"], made[mode], mask) for made, mask in zip(found, masks, strict=True))
        rows.append(Row("A small loss", 30.0, close,
                        f"PSNR against dense, {area:.0%} painted, {mode}, median of {len(found)}", "dB", 1.0))
    return rows


def seams(model: DiffusionModel, cases: Sequence[tuple[Image.Image, str, Image.Image]], area: float) -> list[Row]:
    """The mean jumps across the edge of the same masks without blur."""
    hard = [(compare(model, *case, blur=0), case[-1]) for case in cases]
    mean = {mode: np.mean([jumps(made[mode], mask) for made, mask in hard], axis=0) for mode in ("off", *MODES)}
    return [Row(f"{kind} jump at the edge, {area:.0%} painted, {mode}", float(ours), float(dense), "dense", "grey")
            for mode in MODES for kind, ours, dense in zip(("Colour", "Slope"), mean[mode], mean["off"], strict=True)]


def psnr(one: Image.Image, other: Image.Image, mask: Image.Image) -> float:
    """Peak signal-to-noise ratio where the mask is painted, in dB."""
    difference = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    error = float((difference[np.asarray(mask) > 127] ** 2).mean())
    return 10 * math.log10(255**2 / error) if error else math.inf


def sheet(cases: Sequence[tuple[Image.Image, str, Image.Image]],
          found: Sequence[dict[str, Image.Image]]) -> Image.Image:
    """Two cases a row: the original with its mask, dense, auto and strong, each with its PSNR."""
    step = TILE + 20
    canvas = Image.new("RGB", (8 * TILE + 44, step * math.ceil(len(cases) / 2)), "white")
    draw = ImageDraw.Draw(canvas)
    for k, ((original, _, mask), made) in enumerate(zip(cases, found, strict=True)):
        veil = Image.composite(Image.new("RGB", original.size, "#e83e8c"), original,
                               mask.point(lambda value: value // 2))
        tiles = {"painted": veil, "dense": made["off"]} | {
            f"{mode}, {psnr(made['off'], made[mode], mask):.1f} dB": made[mode] for mode in MODES}
        for column, (words, tile) in enumerate(tiles.items()):
            place = ((k % 2 * 4 + column) * (TILE + 4) + k % 2 * 12, k // 2 * step)
            canvas.paste(tile.resize((TILE, TILE), Image.Resampling.LANCZOS), place)
            draw.text((place[0] + 2, place[1] + TILE + 3), words, fill="#1f2328", font_size=12)
    return canvas
