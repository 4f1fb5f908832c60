"""One step of learning: noise is added to latents, and the network is asked what a model of its family is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from modules.sampling.conditioning import Conditioning
from modules.sampling.levels import TRAINED, Levels, PredictionType

Answer = Callable[[Tensor, Tensor, Conditioning], Tensor]
"""x (B, C, h, w), t (B,) and the words of B rows -> the network's answer (B, C, h, w)."""


@dataclass(frozen=True)
class Lesson:
    """What is added to B latents, and at which levels: times (B,) of int, noise (B, C, h, w)."""

    times: Tensor
    noise: Tensor


def draw_lesson(shape: torch.Size, chance: torch.Generator, noise_offset: float) -> Lesson:
    """Levels in equal parts of all, so that no batch has only easy ones, and noise, with an offset of its own for each
    channel (Guttenberg 2023). On the CPU, so that a seed means the same everywhere."""
    count = shape[0]
    times = (torch.arange(count) + torch.rand(count, generator=chance)) / count * TRAINED
    noise = torch.randn(shape, generator=chance)
    if noise_offset:
        noise = noise + noise_offset * torch.randn((*shape[:2], 1, 1), generator=chance)
    return Lesson(times.long().clamp(max=TRAINED - 1), noise)


def loss_of(answer: Answer, latents: Tensor, cond: Conditioning, lesson: Lesson, levels: Levels,
            prediction: PredictionType, min_snr: float, *, mask: Tensor | None = None,
            weights: Tensor | None = None) -> Tensor:
    """The mean squared error of the network's answer, a level weighed by min-SNR (Hang et al. 2023) if `min_snr` is
    above 0. latents (B, C, h, w). `mask` (B, 1, h, w) in [0, 1] says what of them counts, `weights` (B,) how much each
    does."""
    at = [levels.at_t(int(t)) for t in lesson.times]
    signal, noise = (torch.tensor(values, device=latents.device)[:, None, None, None]
                     for values in ([level.signal for level in at], [level.noise for level in at]))
    eps = lesson.noise.to(latents)
    told = torch.tensor([level.t for level in at], dtype=torch.float32, device=latents.device)
    out = answer(signal * latents + noise * eps, told, cond).float()
    wanted = {"epsilon": eps, "v_prediction": signal * eps - noise * latents, "flow": eps - latents}[prediction.name]
    squares = (out - wanted).square()
    if mask is None:
        errors = squares.mean(dim=(1, 2, 3))
    else:
        errors = (squares.mean(dim=1) * mask[:, 0]).sum(dim=(1, 2)) / mask.sum(dim=(1, 2, 3)).clamp(min=1e-6)
    if min_snr and prediction.name != "flow":
        snr = (signal / noise).square().flatten()
        errors = errors * snr.clamp(max=min_snr) / (snr if prediction.name == "epsilon" else snr + 1)
    return (errors if weights is None else errors * weights.to(errors)).mean()
