"""Trains the autoencoder: drawn scenes, all other pictures of the art package, and photographs."""

from __future__ import annotations

import random
from pathlib import Path

import latents
import numpy as np
import photos
import scenes
import torch
import torch.nn.functional as F
from loop import Plan, Worker, train
from model import SCALE, Autoencoder, Sizes
from PIL import Image
from torch import Tensor, nn

NOISE = 0.10  # added to latents of deviation 1 while training, so that small mistakes of the UNet stay small


def art_picture(files: list[Path], rng: random.Random, size: int) -> np.ndarray:
    """Any picture of the art package, somewhere on a plain or drawn background: (size, size, 3) uint8."""
    canvas = scenes.background(rng.choice(scenes.BACKGROUNDS), rng, scenes.SIZE).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(canvas)
    side = rng.randint(48, 120)
    sprite = Image.open(rng.choice(files)).convert("RGBA").resize((side, side), Image.Resampling.BOX)
    image.paste(sprite, (rng.randint(0, 128 - side), rng.randint(0, 128 - side)), sprite)
    return _window(np.asarray(image), rng, size)


def _window(picture: np.ndarray, rng: random.Random, size: int) -> np.ndarray:
    """A random square, the most detailed of three: flat backgrounds teach little."""
    room = picture.shape[0] - size
    if room == 0:
        return picture
    corners = [(rng.randint(0, room), rng.randint(0, room)) for _ in range(3)]
    squares = [picture[y: y + size, x: x + size] for x, y in corners]
    return max(squares, key=lambda s: float(s[::4, ::4].astype(np.float32).std()))


def batch(data: Path, pictures: list[Image.Image], files: list[Path], rng: random.Random, count: int,
          size: int) -> Tensor:
    """Pictures of all three kinds, (count, 3, size, size) in -1..1."""
    out = []
    for _ in range(count):
        kind = rng.random()
        if kind < 0.45:
            drawn = scenes.draw(scenes.sample_scene(rng), rng, data / "art")
            out.append(_window(np.asarray(drawn), rng, size))
        elif kind < 0.60:
            out.append(art_picture(files, rng, size))
        else:
            out.append(photos.crop(rng.choice(pictures), rng, size))
    return torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2).float() / 127.5 - 1


def reconstruction(out: Tensor, target: Tensor) -> Tensor:
    """Mean distance of pixels, and of the edges between them."""
    edges = sum((F.l1_loss(out.diff(dim=d), target.diff(dim=d)) for d in (2, 3)), torch.zeros((), device=out.device))
    return F.l1_loss(out, target) + 2 * F.mse_loss(out, target) + 0.5 * edges


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Of each picture pair in -1..1, in dB."""
    return 10 * torch.log10(4 / (a.clamp(-1, 1) - b).square().mean(dim=(1, 2, 3)))


def train_vae(worker: Worker, data: Path, folder: Path, sizes: Sizes, samples: int) -> None:
    """Only the decoder learns: the encoder is written down once, so that it makes the linear latents."""
    torch.manual_seed(0)
    plan = Plan("vae", samples, 8, 1e-3, average=0.99, constant=0.4, warmup=30)
    rng = random.Random(f"vae/{worker.rank}/{random.random()}")
    linear = latents.load(data).to(worker.device)
    vae = Autoencoder(sizes)
    latents.write_into(vae.encoder, vae.quant_conv, latents.load(data), SCALE)
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    modules = nn.ModuleDict({"vae": vae}).to(worker.device)
    pictures = photos.load(data / "photos", photos.TRAINING + photos.OFTEN * 2)
    files = sorted((data / "art").glob("*.webp"))

    def loss(step: int, done: float) -> Tensor:
        small = step % 3 != 2
        x = batch(data, pictures, files, rng, 8 if small else 2, 64 if small else 128).to(worker.device)
        z = linear.encode(x)
        return reconstruction(modules["vae"].decode(z + NOISE * torch.randn_like(z)), x)

    weights = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]
    train(plan, worker, [{"params": weights}], modules, loss, folder,
          sheet=lambda m, n: check(m["vae"], data, folder))


@torch.no_grad()
def check(vae: Autoencoder, data: Path, folder: Path, count: int = 24) -> tuple[float, float]:
    """Mean dB on fresh scenes and on photographs never trained on; writes a sheet of before and after."""
    rng = random.Random(99)
    drawn = [np.asarray(scenes.draw(scenes.sample_scene(rng, None), rng, data / "art")) for _ in range(count)]
    taken = photos.load(data / "photos", photos.HELD_OUT)
    cut = [photos.crop(taken[i % len(taken)], rng, 128) for i in range(count)]
    device = next(vae.parameters()).device
    x = torch.from_numpy(np.stack(drawn + cut)).permute(0, 3, 1, 2).float().to(device) / 127.5 - 1
    z = torch.cat([vae.encode(part) for part in x.split(8)])
    out = torch.cat([vae.decode(part) for part in z.split(8)])
    values = psnr(out, x)
    scene, photo = float(values[:count].mean()), float(values[count:].mean())
    away = float((z - latents.load(data).to(device).encode(x)).square().mean().sqrt())
    print(f"autoencoder: scenes {scene:.2f} dB, photographs {photo:.2f} dB, latents off by {away:.3f}", flush=True)
    pairs = torch.stack([x, out.clamp(-1, 1)], 1)
    rows = [torch.cat(list(pairs[i: i + 6].flatten(0, 1)), 2) for i in (0, 6, count, count + 6)]
    sheet = ((torch.cat(rows, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()
    Image.fromarray(sheet).save(folder / "vae.png")
    return scene, photo
