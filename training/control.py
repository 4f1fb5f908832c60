"""Trains a ControlNet for the default checkpoint: its pictures follow the edges of another one.

    python training/control.py --minutes 60     # a second call goes on where the first one stopped
    python training/control.py --export models/ControlNet/emoji-canny.safetensors
    python training/control.py --judge          # how well 60 held-out edge maps are followed

The checkpoint stays as it is. The network begins as a copy of its UNet's way down, and sees the edges that Canny's
method finds in the scene to be drawn.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import replace
from pathlib import Path

import captions
import cv2
import latents
import numpy as np
import scenes
import torch
from beside import run
from drawing import Place, draw
from evaluate import GUIDANCE, Checkpoint
from loop import Plan, Worker, load_average, train
from model import ControlNet, alphas_cumprod
from noise import noise_loss
from safetensors.torch import save_file
from sample import ddim
from scenes import Scene
from stream import stream
from torch import Tensor, nn
from unet import save_sheet

MOVED = 0.7  # of the scenes have their things anywhere
EDGES = (100, 200)  # Canny's thresholds, as the page and other programs have them by default


def edges(pictures: list[np.ndarray]) -> Tensor:
    """Pictures (H, W, 3) uint8 -> their edges (N, 3, H, W), 0 or 1."""
    found = np.stack([cv2.Canny(picture, *EDGES) for picture in pictures])
    return torch.from_numpy(found).float().div(255)[:, None].expand(-1, 3, -1, -1)


def anywhere(scene: Scene, rng: random.Random) -> tuple[Scene, list[Place]]:
    """The scene with its things at places of any size, which its words do not tell: only the edges do."""
    places: list[Place] = []
    for _ in scene.things:
        scale = rng.uniform(0.3, 0.6 if len(scene.things) == 2 else 0.9)
        places.append((scale, (rng.uniform(scale / 2, 1 - scale / 2), rng.uniform(scale / 2, 1 - scale / 2))))
    places.sort(key=lambda place: place[1][0])  # of two things the first stands on the left
    return replace(scene, size="normal", position="centre"), places


class Controlled(nn.Module):
    """The checkpoint's UNet with the network beside it, called as the UNet is."""

    def __init__(self, unet: nn.Module, control: nn.Module, hint: Tensor) -> None:
        super().__init__()
        self.unet, self.control, self.hint = unet, control, hint

    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> Tensor:
        hint = self.hint.repeat(len(x) // len(self.hint), 1, 1, 1)
        embedded = self.unet.embed(time)
        with torch.no_grad():
            kept = self.unet.down(x, embedded, context)
        added = self.control(x, time, context, hint)
        return self.unet.up([one + other for one, other in zip(kept, added, strict=True)], embedded, context)


def begin(model: Checkpoint) -> ControlNet:
    """A network that has not learned anything: the UNet's weights, and zeros where it answers."""
    control = ControlNet(model.sizes)
    control.load_state_dict({key: value for key, value in model.unet.state_dict().items()
                             if not key.startswith(("output_blocks.", "out."))}, strict=False)
    return control


def train_control(worker: Worker, args: argparse.Namespace) -> None:
    torch.manual_seed(0)
    model, linear = Checkpoint(args.model, args.merges), latents.load(args.data)
    for part in (model.unet, model.text, model.vae):
        part.requires_grad_(False)
    plan = Plan("control", args.batch, args.rate, 0, args.minutes, warmup=200, constant=0.7, averages=(0.999,),
                save_every=600)
    modules = nn.ModuleDict({"control": begin(model)}).to(worker.device)
    unet, text, kept = model.unet.to(worker.device), model.text.to(worker.device), alphas_cumprod().to(worker.device)

    def batch(rng: random.Random) -> tuple[Tensor, Tensor, Tensor]:
        """Latents (N, 4, H, W), captions (N, 77) and edges (N, 3, 8H, 8W) of new pictures of one size."""
        width, height = rng.choice(args.sizes)
        pictures, texts = [], []
        for _ in range(max(2, round(args.batch * 128 * 128 / (width * height)))):
            scene, places = scenes.sample_scene(rng, False), None
            if rng.random() < MOVED:
                scene, places = anywhere(scene, rng)
            scene, said, _ = captions.caption(scene, rng, rng.random() < 0.25)
            pictures.append(np.asarray(draw(scene, rng, args.data / "art", (width, height), places)))
            texts.append("" if rng.random() < 0.3 else said)  # the edges alone should tell what it is, too
        return linear.encode(latents.to_tensor(pictures)), model.tokens(texts), edges(pictures)

    batches = stream(batch, f"control/{worker.rank}", worker.device)

    def loss(step: int) -> tuple[Tensor, int]:
        z, tokens, hint = (part.to(worker.device) for part in next(batches))
        with torch.no_grad():
            context = text(tokens)
        controlled = Controlled(unet, modules["control"], hint)
        return noise_loss(lambda x, time: controlled(x, time, context), z, kept), len(z)

    def sheet(trained: nn.ModuleDict, seen: int) -> None:
        drawn, made, _ = held_out(model, trained["control"], args.data, 4)
        save_sheet(torch.cat([latents.to_tensor(drawn), edges(drawn) * 2 - 1, made]), args.state / "control.png", 4)

    train(plan, worker, [{"params": list(modules.parameters())}], modules, loss, args.state, sheet)


@torch.no_grad()
def held_out(model: Checkpoint, control: nn.Module, data: Path, count: int, seed: int = 7100
             ) -> tuple[list[np.ndarray], Tensor, Tensor]:
    """Scenes that were never trained on, each of one thing anywhere before a plain background: drawn, made from their
    edges, and made from their words alone, (N, 3, H, W)."""
    rng, asked = random.Random(seed), []
    while len(asked) < count:
        scene = scenes.sample_scene(rng, True)
        if scene.background in scenes.PLAIN and scene.style == "3d" and model.knows(scene):
            asked.append(anywhere(scene, rng))
    drawn = [np.asarray(draw(scene, rng, data / "art", model.side, places)) for scene, places in asked]
    hints, cells, made = edges(drawn), model.side // 8, []
    for network in (True, False):
        for start in range(0, count, 10):
            part = slice(start, start + 10)
            texts, hint = [captions.plain_prompt(scene) for scene, _ in asked[part]], hints[part]
            noise = torch.randn(len(hint), 4, cells, cells, generator=torch.Generator().manual_seed(seed + start))
            unet = Controlled(model.unet, control, hint) if network else model.unet
            z = ddim(unet, noise, model.words(texts), model.words([""] * len(texts)), guidance=GUIDANCE)
            made.append(model.vae.decode(z))
    return drawn, torch.cat(made[: len(made) // 2]), torch.cat(made[len(made) // 2:])


def filled(picture: Tensor) -> Tensor:
    """Where a picture (3, H, W) before a plain background shows the thing: (H, W) of bool, the contour filled."""
    values = picture.clamp(-1, 1)
    border = torch.cat([values[:, 0], values[:, -1], values[:, :, 0], values[:, :, -1]], dim=1)
    away = (values - border.median(dim=1).values[:, None, None]).abs().amax(0) > 0.25
    found, _ = cv2.findContours(away.byte().numpy(), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    mask = np.zeros(away.shape, np.uint8)
    if found:
        cv2.drawContours(mask, [max(found, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    return torch.from_numpy(mask).bool()


def overlap(made: Tensor, drawn: list[np.ndarray]) -> float:
    """Mean intersection over union of the filled things."""
    values = []
    for one, picture in zip(made, latents.to_tensor(drawn), strict=True):
        a, b = filled(one), filled(picture)
        values.append(float((a & b).sum() / (a | b).sum().clamp(min=1)))
    return sum(values) / len(values)


def load(args: argparse.Namespace, model: Checkpoint) -> ControlNet:
    """The network as it was trained so far."""
    control = ControlNet(model.sizes)
    load_average(control, args.state / "control.pt", "control")
    return control.eval()


def write(control: ControlNet, model: Checkpoint, samples: int, path: Path) -> None:
    """Writes the network in the original layout, fp16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {f"control_model.{key}": value.half().contiguous() for key, value in control.state_dict().items()}
    save_file(tensors, path, {
        "title": "Emoji Mini, edges", "unet_heads": str(model.sizes.unet_heads),
        "unet_norm_groups": str(model.sizes.unet_groups), "licence": model.metadata["licence"],
        "samples": str(samples), "format": "pt"})
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {samples} samples")


def export(args: argparse.Namespace, model: Checkpoint, samples: int) -> None:
    write(load(args, model), model, samples, args.export)


def judge(args: argparse.Namespace, model: Checkpoint) -> None:
    drawn, made, free = held_out(model, load(args, model), args.data, 60)
    print(json.dumps({"controlled": round(overlap(made, drawn), 3), "words alone": round(overlap(free, drawn), 3)}))


if __name__ == "__main__":
    run(__doc__, "control", train_control, export, judge, minutes=60, batch=32, of=128, rate=6e-4)
