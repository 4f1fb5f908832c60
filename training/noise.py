"""What every UNet here learns: to tell the noise that was added to latents."""

from __future__ import annotations

from collections.abc import Callable

import torch
from loop import half_precision
from torch import Tensor

Answer = Callable[[Tensor, Tensor], Tensor]
"""Noisy latents (B, 4, H, W) and times (B,) in 0..999 -> the noise (B, 4, H, W)."""


def noise_loss(answer: Answer, z: Tensor, alphas: Tensor) -> Tensor:
    """The mean squared error of `answer` for latents z (B, 4, H, W), with times drawn from equal parts and weighed by
    clamp(SNR, 0.12, 4) / SNR. alphas (1000,): the schedule's alphas_cumprod."""
    count = len(z)
    time = ((torch.arange(count) + torch.rand(count)) / count * 1000).long().clamp(max=999).to(z.device)
    a = alphas[time][:, None, None, None]
    noise = torch.randn_like(z)
    with half_precision(z.device):
        out = answer(a.sqrt() * z + (1 - a).sqrt() * noise, time)
    snr = (a / (1 - a)).flatten()
    return ((out.float() - noise).square().mean(dim=(1, 2, 3)) * snr.clamp(0.12, 4) / snr).mean()
