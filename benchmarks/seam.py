"""python -m benchmarks.seam [--masks covering|anywhere]: how much of the mask's edge can be seen, for each way of
inpainting.

"covering" masks lie over the whole object, as people paint when they want another one; "anywhere" masks cut through it.

All of them paint over the same pictures, which the embedded checkpoint has drawn itself, with the same masks, prompts,
seeds and steps; diffusers' pipeline uses the very same modules. What each of them decodes is put over the original in
the same way, as the page does it; soft inpainting has its own.

Colour jump: the mean difference between a pixel inside the painted mask and its neighbour outside, over all such pairs,
in grey levels. Gradient jump: the mean change of slope there, |inside - 2 outside + next outside|. Both are measured
with a hard mask, whose edge the eye would find; the profile shows the slope at each distance from it with the page's
blur of 4 pixels. The originals' own figures at the same places say how much of it is the picture's.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw

from modules.engine.engine import resolve
from modules.generation import recipes
from modules.imaging.mask import prepare
from modules.imaging.overlay import apply_overlay, make_overlay
from modules.networks.loader import load_model
from modules.networks.model import DiffusionModel
from modules.request import Inpaint, SoftInpainting, Txt2Img
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.sampling.conditioning import TextOptions, stack
from modules.weights.catalog import Catalog, metadata

HERE = Path(__file__).parent
CHECKPOINTS = HERE.parent / "models" / "Stable-diffusion"
SIZE, STEPS, GUIDANCE = 128, 20, 3.0
HARD, BLURRED = 0, 4
WHERE = {"beach": "on the beach", "grass": "on the grass", "night sky": "in the night sky", "snow": "in the snow"}
REACH = 12  # pixels on either side of the edge that the profile shows

Paint = Callable[["Case", int], Image.Image]
"""(what to paint, blur of the mask) -> the finished picture."""


@dataclass(frozen=True)
class Case:
    """One picture, RGB, with a mask "L" of zeros and 255, and what shall be there instead."""

    original: Image.Image
    mask: Image.Image
    prompt: str
    seed: int
    strength: float


# --- what is painted

def cases(model: DiffusionModel, words: dict[str, list[str]], count: int, mask: Callable[[random.Random], Image.Image]
          ) -> list[Case]:
    """Pictures of one thing each, drawn by the model, and another thing to paint over it. Every second one is painted
    at full strength, the others at the page's 0.75."""
    rng = random.Random(0)
    made = []
    for seed in range(count):
        (old, new), (before, after) = rng.sample(words["objects"], 2), rng.sample(words["colours"], 2)
        background = rng.choice(words["backgrounds"])
        place = WHERE.get(background, f"on a {background} background")
        request = Txt2Img(prompt=f"a {before} {old} {place}", seed=seed, subseed=0, steps=STEPS, cfg_scale=GUIDANCE,
                          width=SIZE, height=SIZE)
        (picture,) = recipes.generate(lambda *_: model, resolve(request), NullJob()).pictures
        made.append(Case(picture.image, mask(rng), f"a {after} {new} {place}", 1000 + seed,
                         1.0 if seed % 2 else 0.75))
    return made


def covering_mask(rng: random.Random) -> Image.Image:
    """A rounded rectangle or an ellipse over the middle, where an object of normal size lies."""
    mask = Image.new("L", (SIZE, SIZE))
    x, y = (SIZE / 2 + rng.uniform(-4, 4) for _ in "xy")
    if rng.random() < 0.5:
        w, h = (rng.uniform(98, 112) / 2 for _ in "wh")
        ImageDraw.Draw(mask).rounded_rectangle((x - w, y - h, x + w, y + h), rng.uniform(0, 24), fill=255)
    else:
        w, h = (rng.uniform(108, 120) / 2 for _ in "wh")
        ImageDraw.Draw(mask).ellipse((x - w, y - h, x + w, y + h), fill=255)
    return mask


def mask_anywhere(rng: random.Random) -> Image.Image:
    """A rectangle, an ellipse or a brush stroke somewhere, 4 to 40 % of the picture."""
    while True:
        mask = Image.new("L", (SIZE, SIZE))
        draw = ImageDraw.Draw(mask)
        kind = rng.choice(("rectangle", "ellipse", "stroke"))
        if kind == "stroke":
            points = [(rng.uniform(0, SIZE), rng.uniform(0, SIZE)) for _ in range(rng.randint(2, 4))]
            width = rng.randint(14, 36)
            draw.line(points, fill=255, width=width, joint="curve")
            for x, y in points:
                draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
        else:
            w, h = rng.uniform(24, 96), rng.uniform(24, 96)
            x, y = rng.uniform(-w / 4, SIZE - w * 3 / 4), rng.uniform(-h / 4, SIZE - h * 3 / 4)
            getattr(draw, kind)((x, y, x + w, y + h), fill=255)
        if 0.04 <= np.asarray(mask).mean() / 255 <= 0.40:
            return mask


MASKS = {"covering": covering_mask, "anywhere": mask_anywhere}


# --- the ways to paint

def ways(model: DiffusionModel) -> dict[str, Paint]:
    """All contestants by name."""
    def ours(soft: SoftInpainting | None = None, **options: str) -> Paint:
        def paint(case: Case, blur: int) -> Image.Image:
            request = Inpaint(
                prompt=case.prompt, seed=case.seed, subseed=0, steps=STEPS, cfg_scale=GUIDANCE, width=SIZE, height=SIZE,
                init_images=(case.original,), mask=case.mask, mask_blur_x=blur, mask_blur_y=blur, soft=soft,
                denoising_strength=case.strength, options=Options().replaced(options))
            (picture,) = recipes.generate(lambda *_: model, resolve(request), NullJob()).pictures
            return picture.image.convert("RGB")

        return paint

    return {"classic, initial noise": ours(ddim_loop="classic", mask_noise="initial"),
            "classic, fresh noise": ours(ddim_loop="classic", mask_noise="fresh"),
            "webui-1.10": ours(ddim_loop="webui-1.10"),
            "classic, soft": ours(SoftInpainting(), ddim_loop="classic"),
            "diffusers": diffusers_way(model)}


def diffusers_way(model: DiffusionModel) -> Paint:
    """diffusers' inpaint pipeline over the same modules, pasted over the original as ours is."""
    from diffusers import DDIMScheduler, StableDiffusionInpaintPipeline

    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                              set_alpha_to_one=False, steps_offset=1)
    unet: Any = model.unet
    unet.register_to_config(sample_size=SIZE // 8)
    pipeline: Any = StableDiffusionInpaintPipeline(
        vae=model.vae, text_encoder=model.text.clip, tokenizer=None, unet=unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)

    def paint(case: Case, blur: int) -> Image.Image:
        mask = prepare(case.mask, invert=False, blur_x=blur, blur_y=blur, hard=True)
        words = stack(model.encode_prompts([case.prompt, ""], TextOptions())).tokens
        decoded = pipeline(
            prompt_embeds=words[:1], negative_prompt_embeds=words[1:], image=case.original, mask_image=mask,
            height=SIZE, width=SIZE, num_inference_steps=STEPS, strength=case.strength, guidance_scale=GUIDANCE,
            generator=torch.Generator().manual_seed(case.seed)).images[0]
        overlay = make_overlay(case.original, mask.point(lambda value: min(value * 2, 255)))
        return apply_overlay(decoded, overlay).convert("RGB")

    return paint


# --- what is measured

def jumps(picture: Image.Image, mask: Image.Image) -> tuple[float, float]:
    """(colour jump, gradient jump) across the edge of a hard mask, in grey levels."""
    pixels, inside = np.asarray(picture, np.float64), np.asarray(mask) > 127
    colour, gradient = [], []
    for turn in range(4):  # the outside neighbour is above, then to the other three sides
        p, m = np.rot90(pixels, turn), np.rot90(inside, turn)
        edge = m[2:] & ~m[1:-1] & ~m[:-2]
        colour.append(np.abs(p[2:] - p[1:-1]).mean(-1)[edge])
        gradient.append(np.abs(p[2:] - 2 * p[1:-1] + p[:-2]).mean(-1)[edge])
    return float(np.concatenate(colour).mean()), float(np.concatenate(gradient).mean())


def slopes(picture: Image.Image, mask: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """(sum of slopes, number of pixels) at each distance -REACH..REACH from the mask's edge; inside is negative."""
    pixels, inside = np.asarray(picture, np.float64), (np.asarray(mask) > 127).astype(np.uint8)
    slope = np.hypot(np.gradient(pixels, axis=0), np.gradient(pixels, axis=1)).mean(-1)
    distance = np.where(inside, -cv2.distanceTransform(inside, cv2.DIST_L2, 5),
                        cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)).round().astype(int)
    near = np.abs(distance) <= REACH
    places = distance[near] + REACH
    return (np.bincount(places, slope[near], 2 * REACH + 1), np.bincount(places, minlength=2 * REACH + 1))


def measure(found: Sequence[Case], paint: Paint) -> tuple[dict[str, float], list[float], list[Image.Image]]:
    """(figures, profile over REACH, the first blurred results)."""
    hard = [jumps(paint(case, HARD), case.mask) for case in found]
    soft = [paint(case, BLURRED) for case in found]
    sums = [slopes(picture, case.mask) for picture, case in zip(soft, found, strict=True)]
    total, count = (np.sum([pair[k] for pair in sums], axis=0) for k in (0, 1))
    profile = (total / np.maximum(count, 1)).tolist()
    colour, gradient = np.mean(hard, axis=0)
    return ({"colour": round(float(colour), 2), "gradient": round(float(gradient), 2),
             "steepest": round(max(profile), 2)},
            [round(value, 3) for value in profile], soft[:4])


# --- what is shown

COLOURS = ("#2da44e", "#0969da", "#cf222e", "#bf8700", "#8250df", "#8c959f")


def plot(profiles: dict[str, list[float]]) -> str:
    """The profiles as an SVG."""
    width, height, left, bottom, right = 860, 380, 60, 330, 620
    top = max(max(values) for values in profiles.values()) * 1.08

    def at(k: float, value: float) -> str:
        return f"{left + (k + REACH) / (2 * REACH) * (right - left):.1f},{bottom - value / top * (bottom - 40):.1f}"

    lines = [f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="'
             f'{" ".join(at(k - REACH, value) for k, value in enumerate(values))}"/>'
             f'<rect x="{right + 20}" y="{60 + 24 * n}" width="14" height="4" fill="{colour}"/>'
             f'<text x="{right + 42}" y="{66 + 24 * n}">{name}</text>'
             for n, ((name, values), colour) in enumerate(zip(profiles.items(), COLOURS, strict=True))]
    ticks = [f'<text x="{at(k, 0).split(",")[0]}" y="{bottom + 18}" text-anchor="middle">{k}</text>'
             for k in range(-REACH, REACH + 1, 4)]
    ticks += [f'<text x="{left - 8}" y="{at(0, v).split(",")[1]}" text-anchor="end">{v}</text>'
              for v in range(0, int(top) + 1, 2)]
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        '<style>text { font: 13px sans-serif; fill: #1f2328 }</style>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{left}" y="22">Slope in grey levels a pixel, by distance from the mask\'s edge</text>',
        f'<line x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}" stroke="#57606a"/>',
        f'<line x1="{at(0, 0).split(",")[0]}" x2="{at(0, 0).split(",")[0]}" y1="36" y2="{bottom}" stroke="#d0d7de"/>',
        f'<text x="{(left + right) / 2}" y="{bottom + 40}" text-anchor="middle">inside the mask &lt; 0 &lt; outside '
        '(pixels)</text>', *ticks, *lines, "</svg>", ""])


def sheet(found: Sequence[Case], results: dict[str, list[Image.Image]]) -> Image.Image:
    """Original, original with its mask, and what each way made of it, row by row."""
    rows = len(next(iter(results.values())))
    canvas = Image.new("RGB", ((2 + len(results)) * (SIZE + 4), rows * (SIZE + 4)), "white")
    for row, case in enumerate(found[:rows]):
        veil = Image.composite(Image.new("RGB", (SIZE, SIZE), "#e83e8c"), case.original,
                               case.mask.point(lambda value: value // 2))
        for column, picture in enumerate([case.original, veil, *(made[row] for made in results.values())]):
            canvas.paste(picture, (column * (SIZE + 4), row * (SIZE + 4)))
    return canvas


def main() -> None:
    """Measures, prints the table, and writes it as JSON, a plot and example pictures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seam", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masks", choices=MASKS, default="covering")
    parser.add_argument("--count", type=int, default=100, help="pictures and masks")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=HERE, help="folder for seam-covering.json, .svg and .png")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    checkpoint = Catalog((CHECKPOINTS,), (), None).find("emoji-mini")
    model = load_model(checkpoint, device=torch.device("cpu"), dtype=torch.float32)
    assert isinstance(model, DiffusionModel)
    with torch.inference_mode():
        found = cases(model, json.loads(metadata(checkpoint.path)["words"]), chosen.count, MASKS[chosen.masks])
        figures: dict[str, dict[str, float]] = {}
        profiles: dict[str, list[float]] = {}
        results: dict[str, list[Image.Image]] = {}
        contestants = {**ways(model), "the originals": lambda case, blur: case.original}
        print("| way | colour jump | gradient jump | steepest, blurred |\n| --- | --- | --- | --- |")
        for name, paint in contestants.items():
            figures[name], profiles[name], results[name] = measure(found, paint)
            print(f"| {name} | " + " | ".join(f"{value:g}" for value in figures[name].values()) + " |", flush=True)
    del results["the originals"]
    name = f"seam-{chosen.masks}"
    (chosen.out / f"{name}.svg").write_text(plot(profiles))
    sheet(found, results).save(chosen.out / f"{name}.png", optimize=True)
    (chosen.out / f"{name}.json").write_text(json.dumps({"count": chosen.count, "figures": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
