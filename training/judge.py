"""The judge: a small CNN that says what a picture shows, trained on fresh drawings. It never saw the model's pictures.

    python training/judge.py --data cache/training        # trains it, writes judge.json and its file

The file is the program's captioner for this world too, so its metadata have the words for the answers.
"""

from __future__ import annotations

import argparse
import json
import random
from itertools import pairwise
from pathlib import Path

import captions
import numpy as np
import scenes
import torch
import torch.nn.functional as F
from drawing import draw
from latents import to_tensor
from loop import half_precision
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

HERE = Path(__file__).parent
FILE = HERE.parent / "models/captioners/emoji-mini.safetensors"
SEED, SIDE = 20, 128  # it looks at pictures of 256 as reduced to 128
NONE = "-"
QUESTIONS: dict[str, tuple[str, ...]] = {
    "object": tuple(scenes.OBJECTS),
    "colour": tuple(scenes.COLOURS),
    "second": (NONE, *scenes.OBJECTS),
    "second colour": (NONE, *scenes.COLOURS),
    "background": scenes.BACKGROUNDS,
    "size": tuple(scenes.SIZES),
    "position": tuple(scenes.POSITIONS),
    "time": tuple(scenes.TIMES),
    "style": tuple(scenes.STYLES),
}


class Judge(nn.Module):
    """Pictures (B, 3, H, W) in -1..1 -> for each question, scores (B, answers)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 128, 160)
        layers: list[nn.Module] = []
        for inner, outer in pairwise(widths):
            layers += [nn.Conv2d(inner, outer, 3, 2, 1), nn.GroupNorm(8, outer), nn.SiLU()]
        self.body = nn.Sequential(*layers, nn.Conv2d(160, 96, 3, 2, 1), nn.SiLU(), nn.Flatten(),
                                  nn.Linear(96 * 16, 320), nn.SiLU())
        self.heads = nn.ModuleDict({name: nn.Linear(320, len(answers)) for name, answers in QUESTIONS.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        seen = self.body(x if x.shape[-1] == SIDE else F.interpolate(x, (SIDE, SIDE), mode="area"))
        return {name: head(seen) for name, head in self.heads.items()}


def truth(scene: scenes.Scene) -> list[int]:
    """The right answers, in QUESTIONS' order."""
    things = [*scene.things, (NONE, NONE)]
    values = (*things[0], *things[1], scene.background, scene.size, scene.position, scene.time, scene.style)
    return [answers.index(v) for answers, v in zip(QUESTIONS.values(), values, strict=True)]


def renders(data: Path, rng: random.Random, count: int, pairs: float = 0.35, side: int = scenes.SIZE
            ) -> tuple[Tensor, Tensor]:
    """Drawings (count, 3, side, side) of any combination, and what they show (count, questions)."""
    made = [scenes.sample_scene(rng, None, pairs) for _ in range(count)]
    pictures = to_tensor([np.asarray(draw(s, rng, data / "art", side)) for s in made])
    return pictures, torch.tensor([truth(s) for s in made])


def soften(x: Tensor, rng: random.Random) -> Tensor:
    """As an autoencoder might leave it: sometimes blurred, sometimes a little noisy, sometimes off in colour."""
    if rng.random() < 0.6:
        low = rng.choice((2, 4))
        x = F.interpolate(F.avg_pool2d(x, low), scale_factor=float(low), mode="bilinear")
    if rng.random() < 0.5:
        x = x + rng.uniform(0, 0.12) * torch.randn_like(x)
    return x + 0.05 * torch.randn(x.shape[0], 3, 1, 1)


def phrases() -> dict[str, list[str]]:
    """How a plain prompt says each answer, by question; empty where it says nothing. "uncoloured": the things whose
    colour it does not say."""
    places = {place: words[0][0] for place, words in scenes.PLACES.items()}
    words = {
        "size": {size: texts[1][0] for size, texts in scenes.SIZES.items()},
        "position": {position: texts[2][0] for position, texts in scenes.POSITIONS.items()},
        "time": {"night": scenes.TIMES["night"][0][0], "day": ""},
        "style": {style: texts[0][0] for style, texts in scenes.STYLES.items()} | {"3d": ""},
        "background": places | {plain: f"on {captions.article(plain)} background" for plain in scenes.PLAIN},
    }
    said = {question: [words.get(question, {}).get(answer, answer) if answer != NONE else "" for answer in answers]
            for question, answers in QUESTIONS.items()}
    return {**said, "uncoloured": [name for name, thing in scenes.OBJECTS.items() if len(thing.colours) == 1]}


def save(judge: Judge, path: Path = FILE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.half().contiguous() for k, v in judge.state_dict().items()}, path,
              {"title": "Emoji Mini", "phrases": json.dumps(phrases()), "licence": "MIT", "format": "pt"})


def load() -> Judge:
    judge = Judge()
    judge.load_state_dict({k: v.float() for k, v in load_file(FILE).items()})
    return judge.eval()


@torch.no_grad()
def verdicts(judge: Judge, pictures: Tensor) -> Tensor:
    """Pictures in -1..1 -> the judge's answers (B, questions)."""
    found = [judge(part) for part in pictures.split(25)]
    return torch.cat([torch.stack([v.argmax(1) for v in f.values()], 1) for f in found])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("cache/training"))
    parser.add_argument("--samples", type=int, default=100_000)
    args = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    rng, judge, batch = random.Random(SEED), Judge(), 32
    steps = args.samples // batch
    optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        x, wanted = renders(args.data, rng, batch, side=SIDE)
        with half_precision(x.device):
            found = judge(soften(x, rng))
        loss = sum((F.cross_entropy(f.float(), wanted[:, i]) for i, f in enumerate(found.values())), torch.zeros(()))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(step, "of", steps, round(float(loss.detach()), 4), flush=True)
    save(judge)
    x, wanted = renders(args.data, random.Random(SEED + 1), 1000)
    right = (verdicts(load(), x) == wanted).float().mean(0)
    figures = {name: round(float(r), 4) for name, r in zip(QUESTIONS, right, strict=True)}
    report = {"seed": SEED, "samples": steps * batch, "unseen_renders": 1000, "right": figures}
    (HERE / "judge.json").write_text(json.dumps(report, indent=1) + "\n")
    print(report)


if __name__ == "__main__":
    main()
