"""The judge: a small CNN that says what a picture shows, trained on fresh drawings. It never saw the model's pictures.

    python training/judge.py --data cache/training        # trains it, writes judge.safetensors and judge.json
"""

from __future__ import annotations

import argparse
import json
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import scenes
import torch
import torch.nn.functional as F
from latents import to_tensor
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

HERE = Path(__file__).parent
SEED = 20
QUESTIONS: dict[str, tuple[str, ...]] = {
    "object": tuple(scenes.OBJECTS),
    "colour": tuple(scenes.COLOURS),
    "background": scenes.BACKGROUNDS,
    "size": tuple(scenes.SIZES),
    "position": tuple(scenes.POSITIONS),
}


class Judge(nn.Module):
    """Pictures (B, 3, 128, 128) in -1..1 -> for each question, scores (B, answers)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, 96, 128)
        layers: list[nn.Module] = []
        for inner, outer in pairwise(widths):
            layers += [nn.Conv2d(inner, outer, 3, 2, 1), nn.GroupNorm(8, outer), nn.SiLU()]
        self.body = nn.Sequential(*layers, nn.Conv2d(128, 64, 3, 2, 1), nn.SiLU(), nn.Flatten(),
                                  nn.Linear(64 * 16, 192), nn.SiLU())
        self.heads = nn.ModuleDict({name: nn.Linear(192, len(answers)) for name, answers in QUESTIONS.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        seen = self.body(x)
        return {name: head(seen) for name, head in self.heads.items()}


def truth(scene: scenes.Scene) -> list[int]:
    name, colour = scene.things[0]
    values = (name, colour, scene.background, scene.size, scene.position)
    return [answers.index(v) for answers, v in zip(QUESTIONS.values(), values, strict=True)]


def renders(data: Path, rng: random.Random, count: int, names: tuple[str, ...] = tuple(scenes.OBJECTS)
            ) -> tuple[Tensor, Tensor]:
    """Drawings (count, 3, 128, 128) of any combination, and what they show (count, questions)."""
    made = [scenes.sample_scene(rng, None, 0.0, names) for _ in range(count)]
    pictures = to_tensor([np.asarray(scenes.draw(s, rng, data / "art")) for s in made])
    return pictures, torch.tensor([truth(s) for s in made])


def soften(x: Tensor, rng: random.Random) -> Tensor:
    """As an autoencoder might leave it: sometimes blurred, sometimes a little noisy, sometimes off in colour."""
    if rng.random() < 0.6:
        low = rng.choice((2, 4))
        x = F.interpolate(F.avg_pool2d(x, low), scale_factor=float(low), mode="bilinear")
    if rng.random() < 0.5:
        x = x + rng.uniform(0, 0.12) * torch.randn_like(x)
    return x + 0.05 * torch.randn(x.shape[0], 3, 1, 1)


def load() -> Judge:
    judge = Judge()
    judge.load_state_dict({k: v.float() for k, v in load_file(HERE / "judge.safetensors").items()})
    return judge.eval()


@torch.no_grad()
def verdicts(judge: Judge, pictures: Tensor) -> Tensor:
    """Pictures in -1..1 -> the judge's answers (B, questions)."""
    found = [judge(part) for part in pictures.split(50)]
    return torch.cat([torch.stack([v.argmax(1) for v in f.values()], 1) for f in found])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("cache/training"))
    parser.add_argument("--samples", type=int, default=30_000)
    args = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    rng, judge, batch = random.Random(SEED), Judge(), 24
    steps = args.samples // batch
    optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        x, wanted = renders(args.data, rng, batch)
        found = judge(soften(x, rng))
        loss = sum((F.cross_entropy(f, wanted[:, i]) for i, f in enumerate(found.values())), torch.zeros(()))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(step, "of", steps, round(float(loss.detach()), 4), flush=True)
    save_file({k: v.half().contiguous() for k, v in judge.state_dict().items()}, HERE / "judge.safetensors")
    x, wanted = renders(args.data, random.Random(SEED + 1), 1000)
    right = (verdicts(load(), x) == wanted).float().mean(0)
    figures = {name: round(float(r), 4) for name, r in zip(QUESTIONS, right, strict=True)}
    report = {"seed": SEED, "samples": steps * batch, "unseen_renders": 1000, "right": figures}
    (HERE / "judge.json").write_text(json.dumps(report, indent=1) + "\n")
    print(report)


if __name__ == "__main__":
    main()
