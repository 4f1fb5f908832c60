"""The DPM-Solver++ family (Lu et al. 2022) in sigma space, as k-diffusion gives it.

They step in lam = -log(sigma), where the linear part of the flow is exact: over a step of length h the old x fades by
exp(-h) and the network's x0 comes in with 1 - exp(-h). x and x0 are (B, 4, h, w), `sigmas` (steps + 1,), descending.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from modules.sampling.solvers.euler import ancestral_step, pairs, slope
from modules.sampling.types import BrownianNoise, Denoiser, DrawNoise, OnStep


def sample_dpmpp_2m(denoise: Denoiser, x: Tensor, sigmas: Tensor, *, on_step: OnStep) -> Tensor:
    """DPM-Solver++(2M): second order from the last two answers, one network call a step."""
    previous: Tensor | None = None
    h_last = 0.0
    for i, (sigma, sigma_next) in enumerate(pairs(sigmas)):
        x0 = denoise(x, sigma)
        h = lam(sigma_next) - lam(sigma)
        target = x0
        if previous is not None and sigma_next > 0:
            r = h_last / h
            target = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * previous
        x = fade(x, target, h)
        previous, h_last = x0, h
        on_step(i, x0)
    return x


def sample_dpmpp_sde(denoise: Denoiser, x: Tensor, sigmas: Tensor, *, brownian: BrownianNoise, on_step: OnStep,
                     eta: float = 1.0, s_noise: float = 1.0) -> Tensor:
    """DPM-Solver++ (SDE): two network calls a step, the second at the middle in lam."""
    for i, (sigma, sigma_next) in enumerate(pairs(sigmas)):
        x0 = denoise(x, sigma)
        on_step(i, x0)
        if sigma_next == 0:
            x = x + slope(x, sigma, x0) * (sigma_next - sigma)
        else:
            start, middle, end = _in_single_precision(sigma, sigma_next)
            down, up = ancestral_step(start, middle, eta)
            x_middle = fade(x, x0, lam(down) - lam(sigma)) + brownian(start, middle) * s_noise * up
            x0_middle = denoise(x_middle, middle)
            down, up = ancestral_step(start, end, eta)
            x = fade(x, x0_middle, lam(down) - lam(sigma)) + brownian(start, end) * s_noise * up
    return x


def sample_dpmpp_2s_ancestral(denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: DrawNoise, on_step: OnStep,
                              eta: float = 1.0, s_noise: float = 1.0) -> Tensor:
    """DPM-Solver++(2S) down to a lower level than asked, then fresh noise back up."""
    for i, (sigma, sigma_next) in enumerate(pairs(sigmas)):
        x0 = denoise(x, sigma)
        on_step(i, x0)
        down, up = ancestral_step(sigma, sigma_next, eta)
        if down == 0:
            x = x + slope(x, sigma, x0) * (down - sigma)
        else:
            h = lam(down) - lam(sigma)
            x_middle = fade(x, x0, h / 2)
            x = fade(x, denoise(x_middle, math.exp(-(lam(sigma) + h / 2))), h)
        if sigma_next > 0:
            x = x + noise() * s_noise * up
    return x


def sample_dpmpp_2m_sde(denoise: Denoiser, x: Tensor, sigmas: Tensor, *, brownian: BrownianNoise, on_step: OnStep,
                        eta: float = 1.0, s_noise: float = 1.0, heun: bool = False) -> Tensor:
    """DPM-Solver++(2M) SDE; `heun` takes the other second-order correction."""
    previous: Tensor | None = None
    h_last = 0.0
    for i, (sigma, sigma_next) in enumerate(pairs(sigmas)):
        x0 = denoise(x, sigma)
        if sigma_next == 0:
            x = x0
        else:
            h = lam(sigma_next) - lam(sigma)
            step = h * (1 + eta)  # the SDE forgets x faster by the noise it adds
            x = sigma_next / sigma * math.exp(-eta * h) * x - math.expm1(-step) * x0
            if previous is not None:
                weight = 1 + math.expm1(-step) / step if heun else -0.5 * math.expm1(-step)
                x = x + weight * (h / h_last) * (x0 - previous)
            x = x + _sde_noise(brownian, sigma, sigma_next, eta, h, s_noise)
            h_last = h
        previous = x0
        on_step(i, x0)
    return x


def sample_dpmpp_2m_sde_heun(denoise: Denoiser, x: Tensor, sigmas: Tensor, *, brownian: BrownianNoise,
                             on_step: OnStep, eta: float = 1.0, s_noise: float = 1.0) -> Tensor:
    """DPM-Solver++(2M) SDE with Heun's correction."""
    return sample_dpmpp_2m_sde(denoise, x, sigmas, brownian=brownian, on_step=on_step, eta=eta, s_noise=s_noise,
                               heun=True)


def sample_dpmpp_3m_sde(denoise: Denoiser, x: Tensor, sigmas: Tensor, *, brownian: BrownianNoise, on_step: OnStep,
                        eta: float = 1.0, s_noise: float = 1.0) -> Tensor:
    """DPM-Solver++(3M) SDE: third order from the last three answers."""
    past: list[tuple[float, Tensor]] = []  # (length of the step, x0 at its start), newest first
    for i, (sigma, sigma_next) in enumerate(pairs(sigmas)):
        x0 = denoise(x, sigma)
        if sigma_next == 0:
            x = x0
        else:
            h = lam(sigma_next) - lam(sigma)
            step = h * (1 + eta)
            phi_2 = math.expm1(-step) / step + 1
            x = math.exp(-step) * x - math.expm1(-step) * x0
            if len(past) == 2:
                (h_1, x0_1), (h_2, x0_2) = past
                r_0, r_1 = h_1 / h, h_2 / h
                slope_0, slope_1 = (x0 - x0_1) / r_0, (x0_1 - x0_2) / r_1
                first = slope_0 + (slope_0 - slope_1) * r_0 / (r_0 + r_1)
                second = (slope_0 - slope_1) / (r_0 + r_1)
                x = x + phi_2 * first - (phi_2 / step - 0.5) * second
            elif past:
                h_1, x0_1 = past[0]
                x = x + phi_2 * (x0 - x0_1) * h / h_1
            x = x + _sde_noise(brownian, sigma, sigma_next, eta, h, s_noise)
            past = [(h, x0), *past[:1]]
        on_step(i, x0)
    return x


def lam(sigma: float) -> float:
    """-log(sigma), infinite at 0."""
    return -math.log(sigma) if sigma > 0 else math.inf


def fade(x: Tensor, x0: Tensor, h: float) -> Tensor:
    """The exact solution over a step of length `h` in lam if the network's answer stayed `x0`."""
    return math.exp(-h) * x - math.expm1(-h) * x0


def _in_single_precision(sigma: float, sigma_next: float) -> tuple[float, float, float]:
    """(sigma, the middle in lam, sigma_next) by way of lam in float32, as k-diffusion computes them.

    A Brownian path is rough: a change in a level's last bit changes the noise by its root, which can be seen.
    """
    start, end = -torch.tensor([sigma, sigma_next]).log()
    first, middle, last = torch.stack([start, start + (end - start) * 0.5, end]).neg().exp().tolist()
    return first, middle, last


def _sde_noise(brownian: BrownianNoise, sigma: float, sigma_next: float, eta: float, h: float,
               s_noise: float) -> Tensor | float:
    if not eta:
        return 0.0
    return brownian(sigma, sigma_next) * (sigma_next * math.sqrt(-math.expm1(-2 * h * eta)) * s_noise)
