"""Trains the UNet on scenes drawn as they are needed; the text encoder has had its lesson and stays as it is."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path

import captions
import latents
import numpy as np
import scenes
import torch
from drawing import draw
from loop import Plan, Worker, half_precision, load_average, train
from model import Sizes, TextEncoder, UNet, alphas_cumprod
from noise import noise_loss
from PIL import Image
from sample import ddim
from stream import stream
from text import Words
from torch import Tensor, nn

SHEET = (
    "a red apple on a blue background", "an orange cat on the grass", "a brown dog on the beach",
    "a rabbit in the snow", "a green frog in the forest", "a red bird in the city", "a penguin in the snow at night",
    "a big blue fish",
    "an orange butterfly on a pink background", "a unicorn in the desert", "a teddy bear on a yellow background",
    "a small green tree on the left on a grey background", "a pink flower, flat illustration",
    "a watercolour of a red mushroom in the forest", "a pumpkin at night in the city", "a birthday cake",
    "a house on the beach at night", "a blue car in the city", "a red boat on the beach", "a rocket in the night sky",
    "a red balloon on the left and a yellow star on the right", "a purple umbrella and a crown on a white background",
    "雪地上红色的爱心", "a watercolor of the sun and a cloud",
)
GUIDANCE = 3.0


@dataclass(frozen=True)
class Lesson:
    """One run of the UNet's training: its length, its rate, and the sizes (width, height) in pixels that it draws."""

    samples: int = 0
    minutes: float = 0.0
    rate: float = 1.2e-3
    batch: int = 16  # of one worker, at 128 x 128; fewer of larger pictures
    sizes: tuple[tuple[int, int], ...] = ((128, 128),)
    constant: float = 0.8
    pairs: float = 0.25


def size(text: str) -> tuple[int, int]:
    """"256" or "192x288" -> (width, height)."""
    width, _, height = text.partition("x")
    return int(width), int(height or width)


def train_unet(worker: Worker, data: Path, folder: Path, sizes: Sizes, lesson: Lesson) -> None:
    torch.manual_seed(0)
    words, linear = Words(data / "bpe.txt.gz"), latents.load(data)
    plan = Plan("unet", lesson.batch, lesson.rate, lesson.samples, lesson.minutes, warmup=200,
                constant=lesson.constant, averages=(0.999, 0.9997, 0.995))
    text = TextEncoder(replace(sizes, vocabulary=len(words)))
    load_average(text, folder / "text.pt", "text")
    text.requires_grad_(False)
    unet = UNet(sizes)
    modules = nn.ModuleDict({"unet": unet, "text": text}).to(worker.device)
    kept = alphas_cumprod().to(worker.device)
    unsaid = words([""])

    def batch(rng: random.Random) -> tuple[Tensor, Tensor]:
        """Latents (N, 4, H, W) of new pictures of one size and the rows of their captions (N, 77)."""
        size = rng.choice(lesson.sizes)
        count = max(2, round(lesson.batch * 128 * 128 / (size[0] * size[1])))
        pictures, texts = [], []
        for _ in range(count):
            scene, said, _ = captions.caption(scenes.sample_scene(rng, False, lesson.pairs), rng, rng.random() < 0.25)
            pictures.append(np.asarray(draw(scene, rng, data / "art", size)))
            texts.append(said)
        tokens = words(texts, rng)
        tokens[torch.rand(count) < 0.1] = unsaid
        return linear.encode(latents.to_tensor(pictures)), tokens

    batches = stream(batch, f"unet/{worker.rank}", worker.device)

    def loss(step: int) -> tuple[Tensor, int]:
        z, tokens = (part.to(worker.device) for part in next(batches))
        with torch.no_grad():
            context = text(tokens)
        return noise_loss(lambda x, time: unet(x, time, context), z, kept), len(z)

    def sheet(trained: nn.ModuleDict, seen: int) -> None:
        device, (width, height) = worker.device, lesson.sizes[0]
        with torch.no_grad(), half_precision(device):
            context = trained["text"](words([*SHEET]).to(device))
            empty = trained["text"](words([""] * len(SHEET)).to(device))
            noise = torch.randn(len(SHEET), 4, height // 8, width // 8, generator=torch.Generator().manual_seed(7))
            z = ddim(trained["unet"], noise.to(device), context, empty, steps=16, guidance=GUIDANCE)
        save_sheet(linear.decode(z.float().cpu()), folder / "unet.png", 8)

    train(plan, worker, [{"params": list(unet.parameters())}], modules, loss, folder, sheet)


def save_sheet(pictures: Tensor, path: Path, columns: int) -> None:
    """Pictures (B, 3, H, W) in -1..1, side by side."""
    rows = [torch.cat(list(part), 2) for part in pictures.split(columns) if len(part) == columns]
    image = latents.to_image(torch.cat(rows, 1))
    image = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
