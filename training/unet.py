"""Trains the UNet on scenes drawn as they are needed; the text encoder has had its lesson and stays as it is."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import latents
import numpy as np
import scenes
import torch
from loop import Plan, Worker, load_average, train
from model import Sizes, TextEncoder, UNet, alphas_cumprod
from PIL import Image
from sample import ddim
from text import Words
from torch import Tensor, nn

SHEET = (
    "a red apple on a blue background", "a big yellow star in the night sky",
    "a small pink heart on a white background", "an orange cat on the grass",
    "a blue fish on the beach", "a green tree in the snow",
    "a purple heart on the left", "a red star on a yellow background",
    "a blue fish on a black background", "a yellow cat on a green background",
    "a green star on a pink background", "a purple heart on an orange background",
    "黑色背景红色的苹果", "a cat", "a tree", "a blue apple at the top on a white background",
)


def train_unet(worker: Worker, data: Path, folder: Path, sizes: Sizes, samples: int, batch: int = 12) -> None:
    torch.manual_seed(0)
    words = Words(data / "bpe.txt.gz")
    linear = latents.load(data)
    rng = random.Random(f"unet/{worker.rank}/{random.random()}")
    draws = np.random.default_rng(rng.getrandbits(32))
    plan = Plan("unet", samples, batch, 1.2e-3, warmup=150, constant=0.4, average=0.995)
    text = TextEncoder(replace(sizes, vocabulary=len(words)))
    load_average(text, folder / "text.pt", "text")
    text.requires_grad_(False)
    unet = UNet(sizes)
    modules = nn.ModuleDict({"unet": unet, "text": text}).to(worker.device)
    kept = alphas_cumprod().to(worker.device)
    unsaid = words([""])

    def loss(step: int, done: float) -> Tensor:
        pictures, texts = [], []
        for _ in range(batch):
            scene, said = scenes.caption(scenes.sample_scene(rng), rng, rng.random() < 0.25)
            pictures.append(np.asarray(scenes.draw(scene, rng, data / "art")))
            texts.append(said)
        tokens = words(texts, rng)
        tokens[torch.rand(batch) < 0.1] = unsaid
        z = linear.encode(latents.to_tensor(pictures)).to(worker.device)
        strata = (np.arange(batch) + draws.random(batch)) / batch
        time = torch.from_numpy((strata * 1000).astype(np.int64)).clamp(max=999).to(worker.device)
        a = kept[time][:, None, None, None]
        noise = torch.randn_like(z)
        with torch.no_grad():
            context = text(tokens.to(worker.device))
        out = unet(a.sqrt() * z + (1 - a).sqrt() * noise, time, context)
        snr = (a / (1 - a)).flatten()
        return ((out - noise).square().mean(dim=(1, 2, 3)) * snr.clamp(0.12, 4) / snr).mean()

    def sheet(trained: nn.ModuleDict, seen: int) -> None:
        device = worker.device
        with torch.no_grad():
            context = trained["text"](words([*SHEET]).to(device))
            empty = trained["text"](words([""] * len(SHEET)).to(device))
            noise = torch.randn(len(SHEET), 4, 16, 16, generator=torch.Generator().manual_seed(7)).to(device)
            z = ddim(trained["unet"], noise, context, empty, steps=16, guidance=3.0)
            save_sheet(linear.decode(z.cpu()), folder / "unet.png", 8)

    train(plan, worker, [{"params": list(unet.parameters())}], modules, loss, folder, sheet)


def save_sheet(pictures: Tensor, path: Path, columns: int) -> None:
    """Pictures (B, 3, H, W) in -1..1, side by side."""
    rows = [torch.cat(list(part), 2) for part in pictures.split(columns) if len(part) == columns]
    array = ((torch.cat(rows, 1).clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    image = Image.fromarray(array).quantize(200, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
