"""Trains the autoencoder: drawn scenes, all other pictures of the art package, and photographs."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import latents
import numpy as np
import photos
import torch
import torch.nn.functional as F
from backdrops import VARIANTS, backdrop
from critic import Duel
from drawing import draw
from loop import Plan, Worker, half_precision, load_average, train
from model import SCALE, Autoencoder, Sizes
from PIL import Image
from redrawn import Redrawn
from scenes import BACKGROUNDS, SIZE, sample_scene
from stream import stream
from torch import Tensor, nn

NOISE = 0.10  # at most, added to latents of deviation 1, so that small mistakes of the UNet stay small
REDRAWN = 0.4  # of the batches show latents as the UNet draws them, once `train.py redraw` has made some
WINDOWS = 4  # squares from one drawing: drawing takes as long as learning from it


def art_picture(folder: Path, files: list[Path], rng: random.Random) -> np.ndarray:
    """Any picture of the art package on a background: (SIZE, SIZE, 3) uint8."""
    image = backdrop(str(folder), rng.choice(BACKGROUNDS), "day", "3d", rng.randrange(VARIANTS), SIZE, SIZE).copy()
    side = rng.randint(96, 240)
    sprite = Image.open(rng.choice(files)).convert("RGBA").resize((side, side), Image.Resampling.BOX)
    image.paste(sprite, (rng.randint(0, SIZE - side), rng.randint(0, SIZE - side)), sprite)
    return np.asarray(image)


def _window(picture: np.ndarray, rng: random.Random, size: int) -> np.ndarray:
    y, x = photos.detailed(picture, rng, size)
    return picture[y: y + size, x: x + size]


def batch(data: Path, pictures: list[Image.Image], files: list[Path], rng: random.Random, count: int,
          size: int) -> Tensor:
    """Pictures of all three kinds, (count, 3, size, size) in -1..1."""
    out: list[np.ndarray] = []
    while len(out) < count:
        kind = rng.random()
        if kind < 0.30:
            out += [photos.crop(rng.choice(pictures), rng, size) for _ in range(WINDOWS)]
            continue
        if kind < 0.40:
            picture = art_picture(data / "art", files, rng)
        else:
            whole = SIZE // 2 if size < SIZE and rng.random() < 0.2 else SIZE
            picture = np.asarray(draw(sample_scene(rng), rng, data / "art", whole))
        out += [_window(picture, rng, size) for _ in range(WINDOWS if size < picture.shape[0] else 1)]
    return latents.to_tensor(out[:count])


def reconstruction(out: Tensor, target: Tensor) -> Tensor:
    """Mean distance of pixels, and of the edges between them."""
    edges = sum((F.l1_loss(out.diff(dim=d), target.diff(dim=d)) for d in (2, 3)), torch.zeros((), device=out.device))
    return F.l1_loss(out, target) + 2 * F.mse_loss(out, target) + 0.5 * edges


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Of each picture pair in -1..1, in dB."""
    return 10 * torch.log10(4 / (a.clamp(-1, 1) - b).square().mean(dim=(1, 2, 3)))


def train_vae(worker: Worker, data: Path, folder: Path, sizes: Sizes, length: tuple[int, float]) -> None:
    """Only the decoder learns: the encoder is written down once, so that it makes the linear latents.

    length: of the run, in samples of 64 x 64 pixels or, where that is 0, in minutes.
    """
    torch.manual_seed(0)
    plan = Plan("vae", _count(worker), 1.5e-3, *length, averages=(0.998, 0.99), constant=0.5, warmup=100)
    vae = Autoencoder(sizes)
    latents.write_into(vae.encoder, vae.quant_conv, latents.load(data), SCALE)
    _learn(plan, worker, data, folder, vae, lambda out, x, z: reconstruction(out, x))


def sharpen(worker: Worker, data: Path, folder: Path, sizes: Sizes, length: tuple[int, float],
            share: float = 0.5) -> None:
    """A second run of the decoder, from the end of `train_vae`'s, with a critic (critic.py). length: as there."""
    torch.manual_seed(0)
    plan = Plan("sharp", _count(worker), 5e-4, *length, averages=(0.998, 0.99), constant=0.5, warmup=100)
    vae, duel, linear = Autoencoder(sizes), Duel(worker.device, share), latents.load(data).to(worker.device)
    load_average(vae, folder / "vae.pt", "vae")
    last = vae.decoder.conv_out.weight

    def loss(out: Tensor, x: Tensor, z: Tensor) -> Tensor:
        return duel(out, x, linear.decode(z), reconstruction(out, x), last)

    _learn(plan, worker, data, folder, vae, loss)


def _count(worker: Worker) -> int:
    return 64 if worker.device.type == "cuda" else 8


def _learn(plan: Plan, worker: Worker, data: Path, folder: Path, vae: Autoencoder,
           score: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Trains the decoder by score(decoded, pictures, latents)."""
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    modules = nn.ModuleDict({"vae": vae}).to(worker.device)
    pictures = photos.load(data / "photos", photos.TRAINING + photos.OFTEN * 2)
    files = sorted((data / "art").glob("*.webp"))
    redrawn, exact = Redrawn(data, folder), latents.load(data)

    def squares(rng: random.Random) -> tuple[Tensor, Tensor]:
        """Pictures (N, 3, side, side) and what the decoder is shown of them, (N, 4, side / 8, side / 8)."""
        side = rng.choice((256, 128, 128, 128, *[64] * 12))  # a norm sees how much of a picture there is
        count = max(1, plan.batch * 64 * 64 // (side * side))
        if redrawn and rng.random() < REDRAWN:
            return redrawn.squares(rng, count, side)
        x = batch(data, pictures, files, rng, count, side)
        z = exact.encode(x)
        return x, z + NOISE * torch.rand(count, 1, 1, 1) * torch.randn_like(z)

    batches = stream(squares, f"{plan.name}/{worker.rank}", worker.device)

    def loss(step: int) -> tuple[Tensor, int]:
        x, z = (part.to(worker.device) for part in next(batches))
        with half_precision(worker.device):
            out = vae.decode(z)
        return score(out.float(), x, z), plan.batch

    weights = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]
    train(plan, worker, [{"params": weights}], modules, loss, folder,
          sheet=lambda m, n: check(m["vae"], data, folder))


def sharpness(made: Tensor, target: Tensor) -> Tensor:
    """Of each picture pair: the mean gradient of `made` at the contours of `target`, as a part of the target's own.
    Contours are the twentieth of all places where the target's grey changes most."""
    def gradient(x: Tensor) -> Tensor:
        grey = x.clamp(-1, 1).mean(1)
        down, right = grey[:, 1:, :-1] - grey[:, :-1, :-1], grey[:, :-1, 1:] - grey[:, :-1, :-1]
        return (down.square() + right.square()).sqrt()

    theirs, ours = gradient(target).flatten(1), gradient(made).flatten(1)
    contour = theirs >= theirs.quantile(0.95, dim=1, keepdim=True)
    return (ours * contour).sum(1) / (theirs * contour).sum(1)


@torch.no_grad()
def check(vae: Autoencoder, data: Path, folder: Path, count: int = 12) -> tuple[float, float]:
    """Mean dB on fresh scenes and on photographs never trained on; writes a sheet of before and after."""
    rng = random.Random(99)
    drawn = [np.asarray(draw(sample_scene(rng, None), rng, data / "art")) for _ in range(count)]
    taken = photos.load(data / "photos", photos.HELD_OUT)
    cut = [photos.crop(taken[i % len(taken)], rng, SIZE) for i in range(count)]
    device = next(vae.parameters()).device
    x = latents.to_tensor(drawn + cut).to(device)
    z = torch.cat([vae.encode(part) for part in x.split(4)])
    out = torch.cat([vae.decode(part) for part in z.split(4)])
    values = psnr(out, x)
    scene, photo = float(values[:count].mean()), float(values[count:].mean())
    away = float((z - latents.load(data).to(device).encode(x)).square().mean().sqrt())
    sharp = float(sharpness(out[:count], x[:count]).mean())
    print(f"autoencoder: scenes {scene:.2f} dB, sharpness {sharp:.3f}, photographs {photo:.2f} dB, latents off by "
          f"{away:.3f}", flush=True)
    pairs = torch.stack([x, out.clamp(-1, 1)], 1)
    rows = [torch.cat(list(pairs[i: i + 6].flatten(0, 1)), 2) for i in (0, 6, count)]
    latents.to_image(torch.cat(rows, 1)).save(folder / "vae.png")
    return scene, photo
