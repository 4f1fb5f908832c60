"""The first samplers in sigma space: Euler and its ancestral form, and Heun (Karras et al. 2022).

x and x0 are (B, 4, h, w), `sigmas` (steps + 1,) and descending, here and in the other files over sigmas.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor

from modules.sampling.types import Denoiser, DrawNoise, OnStep


def sample_euler(denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: DrawNoise, on_step: OnStep,
                 s_churn: float = 0.0, s_tmin: float = 0.0, s_tmax: float = math.inf, s_noise: float = 1.0) -> Tensor:
    """Algorithm 2 of Karras et al. with Euler steps. x at sigmas[0] -> x at sigmas[-1]."""
    for i, (sigma, sigma_next) in enumerate(pairs(sigmas)):
        x, sigma_hat = churn(x, sigma, len(sigmas) - 1, noise, s_churn, s_tmin, s_tmax, s_noise)
        x0 = denoise(x, sigma_hat)
        x = x + slope(x, sigma_hat, x0) * (sigma_next - sigma_hat)
        on_step(i, x0)
    return x


def sample_euler_ancestral(denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: DrawNoise, on_step: OnStep,
                           eta: float = 1.0) -> Tensor:
    """Euler steps down to a lower level than asked, then fresh noise back up (k-diffusion's "Euler a")."""
    for i, (sigma, sigma_next) in enumerate(pairs(sigmas)):
        x0 = denoise(x, sigma)
        sigma_down, sigma_up = ancestral_step(sigma, sigma_next, eta)
        x = x + slope(x, sigma, x0) * (sigma_down - sigma)
        if sigma_next > 0:
            x = x + noise() * sigma_up
        on_step(i, x0)
    return x


def sample_heun(denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: DrawNoise, on_step: OnStep,
                s_churn: float = 0.0, s_tmin: float = 0.0, s_tmax: float = math.inf, s_noise: float = 1.0) -> Tensor:
    """Algorithm 2 of Karras et al.: each step averages the slopes at both of its ends."""
    for i, (sigma, sigma_next) in enumerate(pairs(sigmas)):
        x, sigma_hat = churn(x, sigma, len(sigmas) - 1, noise, s_churn, s_tmin, s_tmax, s_noise)
        x0 = denoise(x, sigma_hat)
        on_step(i, x0)
        x = heun_step(denoise, x, x0, sigma_hat, sigma_next)
    return x


def heun_step(denoise: Denoiser, x: Tensor, x0: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """One step from `sigma`, where the denoiser said `x0`, to `sigma_next`; plain Euler when that is 0."""
    first = slope(x, sigma, x0)
    guess = x + first * (sigma_next - sigma)
    if sigma_next == 0:
        return guess
    second = slope(guess, sigma_next, denoise(guess, sigma_next))
    return x + (first + second) / 2 * (sigma_next - sigma)


def pairs(sigmas: Tensor) -> list[tuple[float, float]]:
    """(sigma, next sigma) of every step."""
    levels = sigmas.tolist()
    return list(pairwise(levels))


def slope(x: Tensor, sigma: float, x0: Tensor) -> Tensor:
    """dx/dsigma of the probability flow: the noise that `x` holds at that level."""
    return (x - x0) / sigma


def churn(x: Tensor, sigma: float, steps: int, noise: DrawNoise, s_churn: float, s_tmin: float, s_tmax: float,
          s_noise: float) -> tuple[Tensor, float]:
    """Noise added before a step so that it starts higher (Karras et al., algorithm 2, lines 4 to 6)."""
    gamma = min(s_churn / steps, 2**0.5 - 1) if s_tmin <= sigma <= s_tmax else 0.0
    block = noise()  # drawn at every step, used or not, so that churn leaves the later blocks where they were
    if gamma == 0:
        return x, sigma
    sigma_hat = sigma * (gamma + 1)
    return x + block * s_noise * (sigma_hat**2 - sigma**2) ** 0.5, sigma_hat


def ancestral_step(sigma: float, sigma_next: float, eta: float) -> tuple[float, float]:
    """(level to step down to, noise to add back) for a step from `sigma` to `sigma_next`."""
    if not eta:
        return sigma_next, 0.0
    up = min(sigma_next, eta * (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2) ** 0.5)
    return float((sigma_next**2 - up**2) ** 0.5), up

