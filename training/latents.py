"""Fixed linear latents: the four main components of 8 x 8 patches, each scaled to a deviation of 1.

The UNet trains on them from the first minute; the autoencoder's encoder learns to make the same ones.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

import photos
import scenes

PATCH = 8


def to_tensor(pictures: list[np.ndarray]) -> Tensor:
    """uint8 pictures (H, W, 3) -> (B, 3, H, W) in -1..1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


class LinearLatents:
    def __init__(self, mean: Tensor, basis: Tensor, deviation: Tensor) -> None:
        """mean (192,), basis (4, 192) with orthonormal rows, deviation (4,)."""
        self.mean, self.basis, self.deviation = mean, basis, deviation

    def encode(self, x: Tensor) -> Tensor:
        """(B, 3, 8H, 8W) -> (B, 4, H, W)."""
        rows = self.basis / self.deviation[:, None]
        return F.conv2d(x, rows.view(4, 3, PATCH, PATCH), -(rows @ self.mean), stride=PATCH)

    def decode(self, z: Tensor) -> Tensor:
        """(B, 4, H, W) -> the nearest picture made of these components, (B, 3, 8H, 8W)."""
        columns = (self.basis * self.deviation[:, None]).view(4, 3, PATCH, PATCH)
        mean = self.mean.view(3, PATCH, PATCH).repeat(1, z.shape[2], z.shape[3])
        return F.conv_transpose2d(z, columns, stride=PATCH) + mean

    def to(self, device: torch.device) -> LinearLatents:
        return LinearLatents(self.mean.to(device), self.basis.to(device), self.deviation.to(device))


def fit(data: Path, count: int = 600) -> LinearLatents:
    """From `count` drawn scenes and `count` crops of photographs."""
    rng = random.Random(3)
    pictures = [np.asarray(scenes.draw(scenes.sample_scene(rng), rng, data / "art")) for _ in range(count)]
    taken = photos.load(data / "photos", photos.TRAINING + photos.OFTEN * 2)
    pictures += [photos.crop(rng.choice(taken), rng, 128) for _ in range(count)]
    patches = F.unfold(to_tensor(pictures), PATCH, stride=PATCH).transpose(1, 2).reshape(-1, 3 * PATCH * PATCH)
    mean = patches.mean(0)
    values, vectors = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    basis = vectors[:, -4:].flip(1).T.contiguous()
    latents = LinearLatents(mean, basis, torch.ones(4))
    deviation = torch.cat([latents.encode(to_tensor([p])) for p in pictures[:count]]).std(dim=(0, 2, 3))
    return LinearLatents(mean, basis, deviation)


def load(data: Path, folder: Path) -> LinearLatents:
    """Fits once and keeps the result in folder."""
    path = folder / "linear.safetensors"
    if not path.exists():
        made = fit(data)
        save_file({"mean": made.mean, "basis": made.basis, "deviation": made.deviation}, path)
    return LinearLatents(**load_file(path))
