"""Fixed linear latents: the four main components of 8 x 8 patches, each scaled to a deviation of 1.

The UNet and the decoder can train on them at the same time, and the encoder is written down, not trained.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import photos
import torch
import torch.nn.functional as F
from drawing import draw
from PIL import Image
from safetensors.torch import load_file, save_file
from scenes import sample_scene
from torch import Tensor

PATCH = 8


def to_tensor(pictures: list[np.ndarray]) -> Tensor:
    """uint8 pictures (H, W, 3) -> (B, 3, H, W) in -1..1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_image(picture: Tensor) -> Image.Image:
    """A picture (3, H, W), of which what lies outside -1..1 is cut off -> RGB."""
    return Image.fromarray(((picture.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy())


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


def fit(data: Path, count: int = 400) -> LinearLatents:
    """From scenes and crops of photographs, `count` of each, half of them 256 and half 128 pixels a side."""
    rng = random.Random(3)
    taken = photos.load(data / "photos", photos.TRAINING + photos.OFTEN * 2)
    drawn, patches = [], []
    for size in (256, 128):
        some = [to_tensor([np.asarray(draw(sample_scene(rng), rng, data / "art", size))]) for _ in range(count // 2)]
        cut = [to_tensor([photos.crop(rng.choice(taken), rng, size)]) for _ in range(count // 2)]
        patches += [F.unfold(p, PATCH, stride=PATCH)[0].T for p in some + cut]
        drawn += some
    rows = torch.cat(patches)  # (N, 192)
    mean = rows.mean(0)
    _, vectors = torch.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
    basis = vectors[:, -4:].flip(1).T.contiguous()
    latents = LinearLatents(mean, basis, torch.ones(4))
    seen = torch.cat([latents.encode(p).flatten(2) for p in drawn], 2)
    return LinearLatents(mean, basis, seen.std(dim=(0, 2)))


def load(data: Path) -> LinearLatents:
    """Those that the committed weights were trained on; fits anew when that file has been deleted."""
    path = Path(__file__).with_name("linear.safetensors")
    if not path.exists():
        made = fit(data)
        save_file({"mean": made.mean, "basis": made.basis, "deviation": made.deviation}, path)
    return LinearLatents(**load_file(path))


@torch.no_grad()
def write_into(encoder: torch.nn.Module, quant_conv: torch.nn.Module, linear: LinearLatents, scale: float) -> None:
    """Sets a checkpoint's encoder so that it computes the linear latents, exactly but for rounding.

    All residual branches are silent. Each halving gathers a patch's parts: 12 numbers of 2 x 2 pixels, then the 16 that
    the four 4 x 4 quarters of the components need, then the 4 components. The last norm sees each number with its
    negative and a large constant with its negative, so that it only divides by the constant; silu(x) - silu(-x) is x.
    """
    for name, parameter in (*encoder.named_parameters(), *quant_conv.named_parameters()):
        if "norm" not in name:
            parameter.zero_()
    rows = (linear.basis / linear.deviation[:, None]).view(4, 3, PATCH, PATCH)
    for c in range(3):
        encoder.conv_in.weight[c, c, 1, 1] = 1
    for a in range(2):
        for b in range(2):  # channel 3 (2a + b) + c of a 2 x 2 square is its pixel (a, b), colour c
            for c in range(3):
                encoder.down[0].downsample.conv.weight[3 * (2 * a + b) + c, c, a, b] = 1
    for level in encoder.down:
        for block in level.block:
            if block.changes:
                for c in range(block.nin_shortcut.weight.shape[1]):
                    block.nin_shortcut.weight[c, c] = 1
    for part in range(4):  # channel 4 q + k of a 4 x 4 square is its share of component k if it is quarter q
        for k in range(4):
            quarter = rows[k, :, 4 * (part // 2): 4 * (part // 2) + 4, 4 * (part % 2): 4 * (part % 2) + 4]
            for a in range(2):
                for b in range(2):
                    taps = quarter[:, 2 * a: 2 * a + 2, 2 * b: 2 * b + 2].permute(1, 2, 0).reshape(12)
                    encoder.down[1].downsample.conv.weight[4 * part + k, :12, a, b] = taps
    groups, width = encoder.norm_out.num_groups, encoder.norm_out.num_channels
    each, large = width // groups, 32.0
    for k in range(4):  # component k and its negative in group k, with the constants
        for part in range(4):
            tap = encoder.down[2].downsample.conv.weight[:, :, part // 2, part % 2]
            tap[k, 4 * part + k] = 1
    shortcut = encoder.down[3].block[0].nin_shortcut
    shortcut.weight.zero_()
    offset = rows.flatten(1) @ linear.mean
    for k in range(4):
        first = k * each
        shortcut.weight[first, k], shortcut.weight[first + 1, k] = 1, -1
        shortcut.bias[first], shortcut.bias[first + 1] = -offset[k], offset[k]
        shortcut.bias[first + 2], shortcut.bias[first + 3] = large, -large
        encoder.norm_out.weight[first: first + 2] = large * (2 / each) ** 0.5
        encoder.norm_out.bias[first: first + 2] = 0
        encoder.conv_out.weight[k, first, 1, 1], encoder.conv_out.weight[k, first + 1, 1, 1] = 1 / scale, -1 / scale
        quant_conv.weight[k, k] = 1
