"""LMS: linear multistep (Adams-Bashforth on uneven steps), as k-diffusion's `sample_lms`."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from modules.sampling.solvers.euler import pairs, slope
from modules.sampling.types import Denoiser, OnStep

ORDER = 4


def sample_lms(denoise: Denoiser, x: Tensor, sigmas: Tensor, *, on_step: OnStep) -> Tensor:
    """Integrates the polynomial through the last four slopes. x (B, 4, h, w)."""
    slopes: list[Tensor] = []  # newest first
    levels = sigmas.tolist()
    for i, (sigma, sigma_next) in enumerate(pairs(sigmas)):
        x0 = denoise(x, sigma)
        slopes = [slope(x, sigma, x0), *slopes[: ORDER - 1]]
        past = levels[max(i - len(slopes) + 1, 0) : i + 1][::-1]
        x = x + sum(weight * d for weight, d in zip(weights(past, sigma, sigma_next), slopes, strict=True))
        on_step(i, x0)
    return x


def weights(points: list[float], start: float, end: float) -> list[float]:
    """The integral from `start` to `end` of each Lagrange polynomial on `points` (1 at its own, 0 at the others)."""
    result = []
    for j, point in enumerate(points):
        others = [other for k, other in enumerate(points) if k != j]
        polynomial = np.polynomial.Polynomial.fromroots(others) if others else np.polynomial.Polynomial([1.0])
        integral = polynomial.integ()
        scale = float(np.prod([point - other for other in others]))
        result.append(float(integral(end) - integral(start)) / scale)
    return result
