"""Asks a checkpoint for pictures and has the judge look at them.

    python training/evaluate.py                 # 300 held-out prompts, 100 seen, 100 pairs, Chinese, 100 inpaintings
    python training/evaluate.py --short         # 24 prompts, as the automatic check runs it
    python training/evaluate.py --sheet out.png # 60 prompts that nobody chose, and out-drawn.png: the same, drawn

Needs torch, numpy, pillow and safetensors, and the checkpoint; inpainting and the drawn sheet also need what fetch.py
fetched.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import captions
import judge as judging
import numpy as np
import scenes
import torch
from drawing import draw
from latents import to_tensor
from model import Autoencoder, TextEncoder, UNet, sizes_of
from safetensors import safe_open
from sample import ddim
from tokens import Tokenizer
from torch import Tensor
from unet import save_sheet

GUIDANCE = 3.0
PAIR = ("object", "colour", "second", "second colour")
Draw = Callable[[list[str], int], Tensor]  # prompts and a seed -> pictures (B, 3, H, W) in -1..1


class Checkpoint:
    """A checkpoint file in our own networks."""

    def __init__(self, path: Path, merges: Path) -> None:
        self.tokenizer = Tokenizer(merges)
        with safe_open(str(path), "pt") as file:
            self.metadata = file.metadata()
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        self.sizes = sizes_of({key: tensor.shape for key, tensor in tensors.items()}, self.metadata)
        self.side = int(self.metadata["native_size"])
        self.unet, self.vae, self.text = UNet(self.sizes), Autoencoder(self.sizes), TextEncoder(self.sizes)
        for prefix, module in (("model.diffusion_model.", self.unet), ("first_stage_model.", self.vae),
                               ("cond_stage_model.transformer.", self.text)):
            module.load_state_dict({k[len(prefix):]: v.float() for k, v in tensors.items() if k.startswith(prefix)})
            module.eval()

    def tokens(self, prompts: list[str]) -> Tensor:
        """(N, 77)."""
        return torch.tensor([self.tokenizer(p) for p in prompts])

    @torch.no_grad()
    def words(self, prompts: list[str]) -> Tensor:
        return self.text(self.tokens(prompts))

    @torch.no_grad()
    def draw(self, prompts: list[str], seed: int, steps: int = 20, keep: Tensor | None = None,
             original: Tensor | None = None, side: int = 0) -> Tensor:
        """Square pictures for prompts, of the native size or `side`; each has its own noise, from seed + its place."""
        out, cells = [], (side or self.side) // 8
        for start in range(0, len(prompts), 10):
            part = slice(start, start + 10)
            some = prompts[part]
            noise = torch.stack([torch.randn(4, cells, cells, generator=torch.Generator().manual_seed(seed + start + i))
                                 for i in range(len(some))])
            z = ddim(self.unet, noise, self.words(some), self.words([""] * len(some)), steps, GUIDANCE,
                     None if keep is None else keep[part], None if original is None else original[part])
            out.append(self.vae.decode(z))
        return torch.cat(out)

    def knows(self, scene: scenes.Scene) -> bool:
        """Whether all of a scene is among the words that the file says it knows."""
        words = json.loads(self.metadata["words"])
        return (all(name in words["objects"] and colour in words["colours"] for name, colour in scene.things)
                and scene.background in words["backgrounds"] and scene.style in words.get("styles", ("3d",))
                and (scene.time == "day" or "at night" in words.get("times", ())))


def ask(model: Checkpoint, count: int, held: bool | None, seed: int, pairs: float = 0.0) -> list[scenes.Scene]:
    """Scenes that nobody chose, of what the model knows."""
    rng, asked = random.Random(seed), []
    while len(asked) < count:
        scene = scenes.sample_scene(rng, held, pairs)
        if model.knows(scene):
            asked.append(scene)
    return asked


def score(judge: judging.Judge, draw_them: Draw, asked: list[scenes.Scene], seed: int, chinese: bool = False
          ) -> dict[str, float]:
    """The part of the pictures in which the judge finds each thing that was asked for, and all together; "pair": both
    objects and both colours."""
    pictures = draw_them([captions.plain_prompt(s, chinese) for s in asked], seed)
    right = judging.verdicts(judge, pictures.clamp(-1, 1)) == torch.tensor([judging.truth(s) for s in asked])
    found = {name: round(float(v), 3) for name, v in zip(judging.QUESTIONS, right.float().mean(0), strict=True)}
    both = right[:, [list(judging.QUESTIONS).index(name) for name in PAIR]].all(1)
    return {**found, "pair": round(float(both.float().mean()), 3), "all": round(float(right.all(1).float().mean()), 3)}


def by_object(judge: judging.Judge, draw_them: Draw, asked: list[scenes.Scene], seed: int) -> dict[str, float]:
    """For each object asked for: how often the judge finds it."""
    found = judging.verdicts(judge, draw_them([captions.plain_prompt(s) for s in asked], seed).clamp(-1, 1))[:, 0]
    names = list(scenes.OBJECTS)
    hits: dict[str, list[bool]] = {}
    for scene, answer in zip(asked, found, strict=True):
        hits.setdefault(scene.things[0][0], []).append(names[int(answer)] == scene.things[0][0])
    return {name: round(sum(v) / len(v), 3) for name, v in sorted(hits.items())}


def inpainting(judge: judging.Judge, model: Checkpoint, data: Path, count: int, seed: int) -> dict[str, float]:
    """Paints over the middle of drawings of one object and asks for another: is the new one there?"""
    rng = random.Random(seed)
    before, after = [], []
    for old, new in zip(ask(model, 4 * count, False, seed), ask(model, 4 * count, None, seed + 1), strict=True):
        if old.things[0][0] != new.things[0][0] and new.things[0][1] != old.background and len(before) < count:
            before.append(scenes.Scene(old.things, old.background, time=old.time, style=old.style))
            after.append(scenes.Scene(new.things, old.background, time=old.time, style=old.style))
    pictures = to_tensor([np.asarray(draw(s, rng, data / "art", model.side)) for s in before])
    cells = model.side // 8
    with torch.no_grad():
        z = torch.cat([model.vae.encode(part) for part in pictures.split(10)])
    keep = torch.ones(count, 1, cells, cells)
    edge = cells // 8
    keep[:, :, edge: cells - edge, edge: cells - edge] = 0
    made = model.draw([captions.plain_prompt(s) for s in after], seed, keep=keep, original=z)
    mask = torch.nn.functional.interpolate(keep, scale_factor=8.0)
    made = mask * pictures + (1 - mask) * made
    right = judging.verdicts(judge, made.clamp(-1, 1)) == torch.tensor([judging.truth(s) for s in after])
    return {name: round(float(right[:, i].float().mean()), 3) for i, name in enumerate(judging.QUESTIONS)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/Stable-diffusion/emoji-mini.safetensors"))
    parser.add_argument("--data", type=Path, default=Path("cache/training"))
    parser.add_argument("--merges", type=Path, default=Path("modules/networks/text/tokenizer/merges.txt"))
    parser.add_argument("--seed", type=int, default=7000)
    parser.add_argument("--side", type=int, default=0, help="of the pictures, in pixels; the native size if not given")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--floor", type=float, default=0.0, help="fail when fewer than this part is right in all")
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--out", type=Path, help="write the figures here, as JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)  # pictures this small gain nothing from a second one
    model = Checkpoint(args.model, args.merges)
    model.side = args.side or model.side
    if args.sheet:
        asked = ask(model, 60, None, args.seed, pairs=0.15)
        save_sheet(model.draw([captions.plain_prompt(s) for s in asked], args.seed), args.sheet, 10)
        if (args.data / "art").exists():
            rng = random.Random(args.seed)
            drawn = to_tensor([np.asarray(draw(s, rng, args.data / "art", model.side)) for s in asked])
            save_sheet(drawn, args.sheet.with_stem(args.sheet.stem + "-drawn"), 10)
        print("\n".join(f"{i // 10 + 1}.{i % 10 + 1} {captions.plain_prompt(s)}" for i, s in enumerate(asked)))
        return
    judge, began, seed = judging.load(), time.process_time(), args.seed
    figures: dict[str, object] = {"samples": int(model.metadata["samples"]), "seed": seed, "guidance": GUIDANCE,
                                  "side": model.side}

    def note(name: str, value: object) -> None:
        figures[name] = value
        print(name, json.dumps(value, ensure_ascii=False), flush=True)
        figures["cpu_seconds"] = round(time.process_time() - began, 1)
        if args.out:
            args.out.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")

    if args.short:
        note("held out", score(judge, model.draw, ask(model, 24, True, seed), seed))
    else:
        note("held out", score(judge, model.draw, ask(model, 300, True, seed), seed))
        note("pairs", score(judge, model.draw, ask(model, 100, None, seed + 3, pairs=1.0), seed))
        both = ask(model, 100, None, seed + 2, pairs=0.2)
        note("chinese", score(judge, model.draw, both, seed, chinese=True))
        note("english, the same scenes", score(judge, model.draw, both, seed))
        note("inpainting", inpainting(judge, model, args.data, 100, seed))
        note("seen", score(judge, model.draw, ask(model, 100, False, seed + 1), seed))
        note("objects found", by_object(judge, model.draw, ask(model, 280, None, seed + 4), seed + 1))
    if figures["held out"]["all"] < args.floor:  # type: ignore[index]
        raise SystemExit(f"fewer than {args.floor} of the pictures are right")


if __name__ == "__main__":
    main()
