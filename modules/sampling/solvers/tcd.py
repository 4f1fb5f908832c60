"""TCD: trajectory consistency distillation (Zheng et al. 2024), for models of a few steps."""

from __future__ import annotations

import math

from torch import Tensor

from modules.sampling.levels import Levels
from modules.sampling.solvers.euler import pairs, slope
from modules.sampling.types import Denoiser, DrawNoise, OnStep


def sample_tcd(denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: DrawNoise, on_step: OnStep, gamma: float,
               model_levels: Levels) -> Tensor:
    """Strategic stochastic sampling (algorithm 4 of the paper): at each step along the trajectory to the timestep
    (1 - gamma) * t below the next level's t, then fresh noise up to that level.

    x at sigmas[0] -> x at sigmas[-1]. With `gamma` 0 it is DDIM's way without noise, with 1 that of a consistency
    model, all the way to the clean guess each time. diffusers calls gamma eta.
    """
    for i, (sigma, sigma_next) in enumerate(pairs(sigmas)):
        x0 = denoise(x, sigma)
        sigma_down = _below(sigma_next, gamma, model_levels) if sigma_next > 0 else 0.0
        x = x0 + sigma_down * slope(x, sigma, x0)
        if sigma_next > sigma_down:
            x = x + (sigma_next**2 - sigma_down**2) ** 0.5 * noise()
        on_step(i, x0)
    return x


def _below(sigma: float, gamma: float, levels: Levels) -> float:
    """The sigma of the timestep (1 - gamma) * t, a whole number, where t is that of `sigma`."""
    if gamma == 0:
        return sigma
    t = math.floor((1 - gamma) * round(levels.at_sigma(sigma).t))
    return min(float(levels.sigmas[t]), sigma)
