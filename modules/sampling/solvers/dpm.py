"""The DPM-Solver family in eps form: DPM2 (Karras et al. 2022, algorithm 2 with a midpoint), DPM fast and DPM adaptive
(Lu et al. 2022, "DPM-Solver"), as k-diffusion gives them.

x, x0 and eps are (B, 4, h, w), `sigmas` (steps + 1,) and descending; t is lam = -log(sigma) here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from modules.errors import BadResult
from modules.sampling.solvers.dpmpp import lam
from modules.sampling.solvers.euler import ancestral_step, churn, pairs, slope
from modules.sampling.types import Denoiser, DrawNoise, OnStep

RTOL, ATOL = 0.05, 0.0078  # of DPM adaptive's error, relative and absolute


def sample_dpm2(denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: DrawNoise, on_step: OnStep,
                s_churn: float = 0.0, s_tmin: float = 0.0, s_tmax: float = math.inf, s_noise: float = 1.0) -> Tensor:
    """Midpoint steps: the slope is taken half-way, in log(sigma)."""
    for i, (sigma, sigma_next) in enumerate(pairs(sigmas)):
        x, sigma_hat = churn(x, sigma, len(sigmas) - 1, noise, s_churn, s_tmin, s_tmax, s_noise)
        x0 = denoise(x, sigma_hat)
        on_step(i, x0)
        x = midpoint_step(denoise, x, x0, sigma_hat, sigma_next)
    return x


def sample_dpm2_ancestral(denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: DrawNoise, on_step: OnStep,
                          eta: float = 1.0, s_noise: float = 1.0) -> Tensor:
    """Midpoint steps down to a lower level than asked, then fresh noise back up."""
    for i, (sigma, sigma_next) in enumerate(pairs(sigmas)):
        x0 = denoise(x, sigma)
        on_step(i, x0)
        down, up = ancestral_step(sigma, sigma_next, eta)
        x = midpoint_step(denoise, x, x0, sigma, down)
        if down > 0:
            x = x + noise() * s_noise * up
    return x


def midpoint_step(denoise: Denoiser, x: Tensor, x0: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """One step from `sigma`, where the denoiser said `x0`; plain Euler when `sigma_next` is 0."""
    first = slope(x, sigma, x0)
    if sigma_next == 0:
        return x + first * (sigma_next - sigma)
    middle = (sigma * sigma_next) ** 0.5
    x_middle = x + first * (middle - sigma)
    return x + slope(x_middle, middle, denoise(x_middle, middle)) * (sigma_next - sigma)


def sample_dpm_fast(denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: DrawNoise, on_step: OnStep,
                    ends: tuple[float, float], eta: float = 1.0, s_noise: float = 1.0) -> Tensor:
    """As many network calls as there are steps, in jumps of order 3 over equal lengths of lam between the `ends`; of
    `sigmas` only the count matters."""
    calls = len(sigmas) - 1
    start, end = lam(ends[0]), lam(ends[1])
    orders = [3] * (calls // 3 - 1) + [2, 1] if calls % 3 == 0 else [3] * (calls // 3) + [calls % 3]
    points = torch.linspace(start, end, len(orders) + 1).tolist()
    for i, (t, t_next, order) in enumerate(zip(points[:-1], points[1:], orders, strict=True)):
        target, up = _lower_target(t, t_next, end, eta)
        eps = _eps(denoise, x, t)
        on_step(i, x - math.exp(-t) * eps)
        x = _jump(denoise, x, eps, t, target, order)[order] + up * s_noise * noise()
    return x


@dataclass
class StepSize:
    """How long the next step may be: an integral controller on the error of the last, with k-diffusion's numbers."""

    h: float
    order: float
    accept_safety: float = 0.81

    def propose(self, error: float) -> bool:
        """Whether the step with that `error` (1 is the tolerance) is good enough; sets `h` for the next try."""
        factor = (1 / (error + 1e-8)) ** (1 / self.order)
        factor = 1 + math.atan(factor - 1)
        self.h *= factor
        return factor >= self.accept_safety


def sample_dpm_adaptive(denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: DrawNoise, on_step: OnStep,
                        ends: tuple[float, float], eta: float = 1.0) -> Tensor:
    """Order 2 inside order 3 between the `ends`, in steps as long as their difference allows. The error is that of the
    whole batch, so pictures depend on it a little."""
    t, end = lam(ends[0]), lam(ends[1])
    size = StepSize(h=0.05, order=1.5 if eta else 3)  # noise makes the error fall more slowly
    x_previous = x
    i = 0
    while t < end - 1e-5:
        t_next = min(end, t + size.h)
        target, up = _lower_target(t, t_next, end, eta)
        eps = _eps(denoise, x, t)
        guesses = _jump(denoise, x, eps, t, target, order=3, embedded=True)
        tolerance = (RTOL * torch.maximum(guesses[2].abs(), x_previous.abs())).clamp(min=ATOL)
        error = float(torch.linalg.norm((guesses[2] - guesses[3]) / tolerance) / x.numel() ** 0.5)
        if not math.isfinite(error):
            raise BadResult("The model gave numbers that are not finite, so the step size cannot be found.")
        if size.propose(error):
            on_step(i, x - math.exp(-t) * eps)
            x_previous, t, i = guesses[2], t_next, i + 1
            x = guesses[3] + up * noise()
    return x


def _lower_target(t: float, t_next: float, end: float, eta: float) -> tuple[float, float]:
    """(lam to step to, noise to add) for an ancestral step from lam `t` to `t_next`, not beyond `end`."""
    if not eta:
        return t_next, 0.0
    down, _ = ancestral_step(math.exp(-t), math.exp(-t_next), eta)
    target = min(end, lam(down))
    return target, (max(math.exp(-2 * t_next) - math.exp(-2 * target), 0.0)) ** 0.5


def _jump(denoise: Denoiser, x: Tensor, eps: Tensor, t: float, t_next: float, order: int, *,
          embedded: bool = False) -> dict[int, Tensor]:
    """x at `t_next` by the solver of `order` (DPM-Solver algorithms 1 and 2), under that order's number.

    `embedded` gives order 2 as well, at no further call: both share the point at a third of the way.
    """
    h = t_next - t
    sigma_next = math.exp(-t_next)
    if order == 1:
        return {1: x - sigma_next * math.expm1(h) * eps}
    r1 = 1 / 3 if order == 3 else 1 / 2
    eps_1 = _eps(denoise, x - math.exp(-(t + r1 * h)) * math.expm1(r1 * h) * eps, t + r1 * h)
    guesses = {}
    if order == 2 or embedded:
        guesses[2] = x - sigma_next * math.expm1(h) * (eps + (eps_1 - eps) / (2 * r1))
    if order == 3:
        r2 = 2 / 3
        curved = math.expm1(r2 * h) / (r2 * h) - 1
        x_2 = x - math.exp(-(t + r2 * h)) * (math.expm1(r2 * h) * eps + r2 / r1 * curved * (eps_1 - eps))
        eps_2 = _eps(denoise, x_2, t + r2 * h)
        guesses[3] = x - sigma_next * (math.expm1(h) * eps + (math.expm1(h) / h - 1) / r2 * (eps_2 - eps))
    return guesses


def _eps(denoise: Denoiser, x: Tensor, t: float) -> Tensor:
    sigma = math.exp(-t)
    return slope(x, sigma, denoise(x, sigma))
