"""Asks the checkpoint for pictures and has the judge look at them.

    python training/evaluate.py                 # 200 held-out and 100 seen prompts, Chinese ones, 100 inpaintings
    python training/evaluate.py --short         # 24 prompts, as the automatic check runs it
    python training/evaluate.py --sheet out.png # 40 prompts that nobody chose

Needs torch, numpy, pillow and safetensors, and the committed weights; inpainting also needs what fetch.py fetched.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import judge as judging
import numpy as np
import scenes
import torch
from model import Autoencoder, Sizes, TextEncoder, UNet
from safetensors import safe_open
from sample import ddim
from tokens import Tokenizer
from torch import Tensor
from unet import save_sheet

GUIDANCE = 3.0
Draw = Callable[[list[str], int], Tensor]  # prompts and a seed -> pictures (B, 3, 128, 128) in -1..1


class Checkpoint:
    """The committed file in our own networks."""

    def __init__(self, path: Path, merges: Path, sizes: Sizes | None = None) -> None:
        sizes = sizes or Sizes()
        self.tokenizer = Tokenizer(merges)
        self.unet, self.vae, self.text = UNet(sizes), Autoencoder(sizes), TextEncoder(replace(sizes, vocabulary=49408))
        parts = (("model.diffusion_model.", self.unet), ("first_stage_model.", self.vae),
                 ("cond_stage_model.transformer.", self.text))
        with safe_open(str(path), "pt") as file:
            self.metadata = file.metadata()
            keys = list(file.keys())
            for prefix, module in parts:
                module.load_state_dict({k[len(prefix):]: file.get_tensor(k).float() for k in keys
                                        if k.startswith(prefix)})
                module.eval()

    @torch.no_grad()
    def words(self, prompts: list[str]) -> Tensor:
        return self.text(torch.tensor([self.tokenizer(p) for p in prompts]))

    @torch.no_grad()
    def draw(self, prompts: list[str], seed: int, steps: int = 20, keep: Tensor | None = None,
             original: Tensor | None = None) -> Tensor:
        """Pictures for prompts; each has noise of its own, made from seed + its place."""
        out = []
        for start in range(0, len(prompts), 20):
            part = slice(start, start + 20)
            some = prompts[part]
            noise = torch.stack([torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(seed + start + i))
                                 for i in range(len(some))])
            z = ddim(self.unet, noise, self.words(some), self.words([""] * len(some)), steps, GUIDANCE,
                     None if keep is None else keep[part], None if original is None else original[part])
            out.append(self.vae.decode(z))
        return torch.cat(out)


def ask(count: int, held: bool | None, seed: int) -> list[scenes.Scene]:
    """Scenes with one object that nobody chose."""
    rng = random.Random(seed)
    return [scenes.sample_scene(rng, held, 0.0) for _ in range(count)]


def score(judge: judging.Judge, draw: Draw, asked: list[scenes.Scene], seed: int, chinese: bool = False
          ) -> dict[str, float]:
    """The part of the pictures in which the judge finds each thing that was asked for, and all together."""
    pictures = draw([scenes.plain_prompt(s, chinese) for s in asked], seed)
    right = judging.verdicts(judge, pictures.clamp(-1, 1)) == torch.tensor([judging.truth(s) for s in asked])
    found = {name: round(float(v), 3) for name, v in zip(judging.QUESTIONS, right.float().mean(0), strict=True)}
    return {**found, "all": round(float(right.all(1).float().mean()), 3)}


def inpainting(judge: judging.Judge, model: Checkpoint, data: Path, count: int, seed: int) -> dict[str, float]:
    """Paints over the middle of drawings of one object and asks for another: is the new one there?"""
    rng = random.Random(seed)
    before, after = [], []
    while len(before) < count:
        old = scenes.sample_scene(rng, False, 0.0)
        new = scenes.sample_scene(rng, None, 0.0)
        wanted = scenes.Scene(new.things, old.background)
        if old.things[0][0] == new.things[0][0] or new.things[0][1] == old.background:
            continue
        before.append(scenes.Scene(old.things, old.background))
        after.append(wanted)
    pictures = judging.to_tensor([_array(s, rng, data) for s in before])
    with torch.no_grad():
        z = torch.cat([model.vae.encode(part) for part in pictures.split(20)])
    keep = torch.ones(count, 1, 16, 16)
    keep[:, :, 2:14, 2:14] = 0
    made = model.draw([scenes.plain_prompt(s) for s in after], seed, keep=keep, original=z)
    mask = torch.nn.functional.interpolate(keep, scale_factor=8.0)
    made = mask * pictures + (1 - mask) * made
    right = judging.verdicts(judge, made.clamp(-1, 1)) == torch.tensor([judging.truth(s) for s in after])
    return {name: round(float(right[:, i].float().mean()), 3) for i, name in enumerate(judging.QUESTIONS)}


def _array(scene: scenes.Scene, rng: random.Random, data: Path) -> np.ndarray:
    return np.asarray(scenes.draw(scene, rng, data / "art"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/Stable-diffusion/emoji-mini.safetensors"))
    parser.add_argument("--data", type=Path, default=Path("cache/training"))
    parser.add_argument("--merges", type=Path, default=Path("modules/networks/text/tokenizer/merges.txt"))
    parser.add_argument("--seed", type=int, default=7000)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--floor", type=float, default=0.0, help="fail when fewer than this part is right in all")
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--out", type=Path, help="write the figures here, as JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)  # pictures this small gain nothing from a second one
    model = Checkpoint(args.model, args.merges)
    if args.sheet:
        asked = ask(40, None, args.seed)
        save_sheet(model.draw([scenes.plain_prompt(s) for s in asked], args.seed), args.sheet, 8)
        print("\n".join(f"{i // 8 + 1}.{i % 8 + 1} {scenes.plain_prompt(s)}" for i, s in enumerate(asked)))
        return
    judge, began = judging.load(), time.process_time()
    figures: dict[str, object] = {"samples": int(model.metadata["samples"]), "seed": args.seed, "guidance": GUIDANCE}
    if args.short:
        figures["held out"] = score(judge, model.draw, ask(24, True, args.seed), args.seed)
    else:
        figures["held out"] = score(judge, model.draw, ask(200, True, args.seed), args.seed)
        figures["seen"] = score(judge, model.draw, ask(100, False, args.seed + 1), args.seed)
        figures["chinese"] = score(judge, model.draw, ask(100, None, args.seed + 2), args.seed, chinese=True)
        figures["english, the same scenes"] = score(judge, model.draw, ask(100, None, args.seed + 2), args.seed)
        figures["inpainting"] = inpainting(judge, model, args.data, 100, args.seed)
    figures["cpu_seconds"] = round(time.process_time() - began, 1)
    text = json.dumps(figures, indent=1, ensure_ascii=False)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    if figures["held out"]["all"] < args.floor:  # type: ignore[index]
        raise SystemExit(f"fewer than {args.floor} of the pictures are right")


if __name__ == "__main__":
    main()
