"""Restart sampling (Xu et al. 2023): Heun's method, with a stretch of the way gone over again from fresh noise."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.sampling.schedules import karras_levels
from modules.sampling.solvers.euler import heun_step, pairs
from modules.sampling.types import Denoiser, DrawNoise, OnStep

RESTART_FROM, RESTART_TO = 0.1, 2.0  # sigma where it turns back, and up to where


def sample_restart(denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: DrawNoise, on_step: OnStep) -> Tensor:
    """Plain Heun below 20 steps; from 20 on some of the steps are spent on the stretch (WebUI's `restart_sampler`)."""
    last: float | None = None
    for i, (sigma, sigma_next) in enumerate(with_restarts(sigmas)):
        if last is not None and last < sigma:
            x = x + noise() * (sigma**2 - last**2) ** 0.5
        x0 = denoise(x, sigma)
        on_step(i, x0)
        x = heun_step(denoise, x, x0, sigma, sigma_next)
        last = sigma_next
    return x


def with_restarts(sigmas: Tensor) -> list[tuple[float, float]]:
    """The (sigma, next) of all steps, the repeated stretch included; as many steps in all as `sigmas` has."""
    steps = len(sigmas) - 1
    if steps < 20:
        return pairs(sigmas)
    length, times = (9, 1) if steps < 36 else (steps // 4, 2)
    levels = torch.cat([karras_levels(steps - length * times, float(sigmas[-2]), float(sigmas[0])), torch.zeros(1)])
    low = int((levels - RESTART_FROM).abs().argmin())
    high = int((levels - RESTART_TO).abs().argmin())
    walk = pairs(levels)
    if high >= low:
        return walk
    again = pairs(karras_levels(length + 1, float(levels[low]), float(levels[high])))
    return walk[:low] + again * times + walk[low:]
