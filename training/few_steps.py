"""Teaches a LoRA with which the default checkpoint draws in 4 steps, without guidance, what it draws in 20 with it.

    python training/few_steps.py --minutes 30   # a second call goes on where the first one stopped
    python training/few_steps.py --export models/Lora/emoji-lightning-4step.safetensors
    python training/few_steps.py --judge        # 100 held-out prompts in 4 steps, with it and without it

This is progressive distillation (Salimans and Ho, 2022) in one stage: a step of the student goes as far as five of the
checkpoint. The sampler is Euler (which DDIM is, in other variables) on trailing times, the schedule "SGM Uniform".
"""

from __future__ import annotations

import argparse
import copy
import json
import random
from pathlib import Path

import captions
import judge as judging
import latents
import numpy as np
import scenes
import torch
from beside import run
from drawing import draw
from evaluate import GUIDANCE, Checkpoint, ask, score
from loop import Plan, Worker, half_precision, load_average, train
from model import alphas_cumprod
from safetensors.torch import save_file
from stream import stream
from torch import Tensor, nn
from unet import SHEET, save_sheet

STEPS = 4
PARTS = 5  # of the checkpoint's steps in one of the student's
RANK = 32


class Pair(nn.Module):
    """The two low-rank parts beside a layer."""

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        if isinstance(layer, nn.Linear):
            self.down = nn.Linear(layer.in_features, RANK, bias=False)
            self.up = nn.Linear(RANK, layer.out_features, bias=False)
        else:
            self.down = nn.Conv2d(layer.in_channels, RANK, layer.kernel_size, layer.stride, layer.padding, bias=False)
            self.up = nn.Conv2d(RANK, layer.out_channels, 1, bias=False)
        nn.init.zeros_(self.up.weight)


class Patched(nn.Module):
    """A layer that stays as it is, with a pair beside it."""

    def __init__(self, layer: nn.Module, pair: Pair) -> None:
        super().__init__()
        self.layer, self.pair = layer, pair

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.pair.up(self.pair.down(x))


def patched(unet: nn.Module) -> tuple[nn.Module, nn.ModuleDict]:
    """A copy of the UNet with a pair beside each of its larger layers, and the pairs by kohya's names."""
    student, pairs = copy.deepcopy(unet).requires_grad_(False), nn.ModuleDict()
    for name, layer in list(student.named_modules()):
        if isinstance(layer, nn.Linear | nn.Conv2d) and min(layer.weight.shape[:2]) >= RANK:
            pair = pairs[f"lora_unet_{name.replace('.', '_')}"] = Pair(layer)
            parent, _, last = name.rpartition(".")
            setattr(student.get_submodule(parent), last, Patched(layer, pair))
    return student, pairs


def step(x: Tensor, e: Tensor, now: Tensor, after: Tensor) -> Tensor:
    """DDIM's step from one noise level to another, both alphas_cumprod (B, 1, 1, 1)."""
    return after.sqrt() * (x - (1 - now).sqrt() * e) / now.sqrt() + (1 - after).sqrt() * e


class Steps:
    """The times of both walks: trailing, from 999 down."""

    def __init__(self, device: torch.device) -> None:
        self.kept = torch.cat([torch.ones(1), alphas_cumprod()]).to(device)  # index: time + 1

    def level(self, time: Tensor) -> Tensor:
        return self.kept[time + 1][:, None, None, None]

    def student(self, network: nn.Module, x: Tensor, at: Tensor, context: Tensor) -> Tensor:
        """One step from each time of `at`, (B,) of 0..STEPS - 1 with 0 as the last step."""
        far = 1000 // STEPS
        now, after = far * (at + 1) - 1, far * at - 1
        return step(x, network(x, now, context).float(), self.level(now), self.level(after))

    def teacher(self, network: nn.Module, x: Tensor, at: Tensor, context: Tensor, empty: Tensor) -> Tensor:
        """The same way in PARTS steps with guidance."""
        far = 1000 // STEPS // PARTS
        for part in reversed(range(PARTS)):
            now = far * (at * PARTS + part + 1) - 1
            free, told = network(torch.cat([x, x]), now.repeat(2), torch.cat([empty, context])).float().chunk(2)
            x = step(x, free + GUIDANCE * (told - free), self.level(now), self.level(now - far))
        return x

    def draw(self, network: nn.Module, noise: Tensor, context: Tensor) -> Tensor:
        """Noise (B, 4, H, W) -> latents, in STEPS steps."""
        x = noise
        for at in reversed(range(STEPS)):
            x = self.student(network, x, torch.full((len(x),), at, device=x.device), context)
        return x


def train_few_steps(worker: Worker, args: argparse.Namespace) -> None:
    torch.manual_seed(0)
    model, linear = Checkpoint(args.model, args.merges), latents.load(args.data)
    for part in (model.unet, model.text, model.vae):
        part.requires_grad_(False)
    student, pairs = patched(model.unet)
    plan = Plan("few_steps", args.batch, args.rate, 0, args.minutes, warmup=50, constant=0.6, averages=(0.995,),
                decay=0.0, save_every=300)
    modules, steps = nn.ModuleDict({"pairs": pairs}).to(worker.device), Steps(worker.device)
    teacher, student, text = (part.to(worker.device) for part in (model.unet, student, model.text))

    def batch(rng: random.Random) -> tuple[Tensor, Tensor]:
        """Latents (N, 4, H, W) and captions (N, 77) of new pictures of one size."""
        width, height = rng.choice(args.sizes)
        pictures, texts = [], []
        for _ in range(max(2, round(args.batch * 256 * 256 / (width * height)))):
            scene, said, _ = captions.caption(scenes.sample_scene(rng, False), rng, rng.random() < 0.25)
            pictures.append(np.asarray(draw(scene, rng, args.data / "art", (width, height))))
            texts.append(said)
        return linear.encode(latents.to_tensor(pictures)), model.tokens(texts)

    batches, unsaid = stream(batch, f"few_steps/{worker.rank}", worker.device), model.tokens([""]).to(worker.device)

    def loss(done: int) -> tuple[Tensor, int]:
        z, tokens = (part.to(worker.device) for part in next(batches))
        at = torch.arange(done, done + len(z), device=z.device) % STEPS
        noise = torch.randn_like(z)
        level = steps.level(1000 // STEPS * (at + 1) - 1)
        x = torch.where((at == STEPS - 1)[:, None, None, None], noise, level.sqrt() * z + (1 - level).sqrt() * noise)
        with half_precision(z.device):
            with torch.no_grad():
                context, empty = text(tokens), text(unsaid).expand(len(z), -1, -1)
                target = steps.teacher(teacher, x, at, context, empty)
            made = steps.student(student, x, at, context)
        return (made - target).square().mean(), len(z)

    def sheet(trained: nn.ModuleDict, seen: int) -> None:
        other, now = patched(model.unet)
        now.load_state_dict(trained["pairs"].state_dict())
        save_sheet(drawn(model, other.to(worker.device), list(SHEET), 7).cpu(), args.state / "few_steps.png", 8)

    train(plan, worker, [{"params": list(pairs.parameters())}], modules, loss, args.state, sheet)


@torch.no_grad()
def drawn(model: Checkpoint, unet: nn.Module, prompts: list[str], seed: int) -> Tensor:
    """Pictures (B, 3, H, W) for prompts, in STEPS steps."""
    out, cells = [], model.side // 8
    for start in range(0, len(prompts), 10):
        some = prompts[start: start + 10]
        noise = torch.stack([torch.randn(4, cells, cells, generator=torch.Generator().manual_seed(seed + start + i))
                             for i in range(len(some))])
        out.append(model.vae.decode(Steps(noise.device).draw(unet, noise, model.words(some))))
    return torch.cat(out)


def load(args: argparse.Namespace, model: Checkpoint) -> tuple[nn.Module, nn.ModuleDict]:
    """The UNet with what was learned so far, and the pairs."""
    student, pairs = patched(model.unet)
    load_average(pairs, args.state / "few_steps.pt", "pairs")
    return student.eval(), pairs


def write(pairs: nn.ModuleDict, model: Checkpoint, samples: int, path: Path) -> None:
    """Writes the pairs as a LoRA, fp16."""
    tensors: dict[str, Tensor] = {}
    for name, pair in pairs.items():
        tensors |= {f"{name}.lora_down.weight": pair.down.weight, f"{name}.lora_up.weight": pair.up.weight,
                    f"{name}.alpha": torch.tensor(float(RANK))}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value.detach().half().contiguous() for key, value in tensors.items()}, path, {
        "modelspec.title": f"Emoji Mini in {STEPS} steps", "ss_network_module": "networks.lora",
        "ss_network_dim": str(RANK), "ss_network_alpha": str(RANK), "ss_base_model_version": "sd_v1",
        "modelspec.license": model.metadata["licence"], "samples": str(samples), "format": "pt"})
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {samples} samples")


def export(args: argparse.Namespace, model: Checkpoint, samples: int) -> None:
    write(load(args, model)[1], model, samples, args.export)


def judge(args: argparse.Namespace, model: Checkpoint) -> None:
    network, asked = judging.load(), ask(model, 100, True, 7000)
    for name, unet in (("with it", load(args, model)[0]), ("without it", model.unet)):
        found = score(network, lambda prompts, seed, unet=unet: drawn(model, unet, prompts, seed), asked, 7000)
        print(name, json.dumps(found), flush=True)


if __name__ == "__main__":
    run(__doc__, "few_steps", train_few_steps, export, judge, minutes=30, batch=8, of=256, rate=1e-3)
