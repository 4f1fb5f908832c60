"""PLMS: pseudo linear multistep over DDIM's timesteps (Liu et al. 2022, "Pseudo Numerical Methods", PNDM)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from modules.sampling.solvers.ddim import TimeStep
from modules.sampling.types import Denoiser, OnStep, per_image

ADAMS_BASHFORTH = {2: (3 / 2, -1 / 2), 3: (23 / 12, -16 / 12, 5 / 12), 4: (55 / 24, -59 / 24, 37 / 24, -9 / 24)}


def sample_plms(denoise: Denoiser, x: Tensor, steps: Sequence[TimeStep], *, on_step: OnStep) -> Tensor:
    """DDIM steps along an eps (B, 4, h, w) extrapolated from the last four; the first step asks the network twice."""
    past: list[Tensor] = []  # newest first
    for i, step in enumerate(steps):
        eps = denoise(x, per_image(x, step.t))
        past = [eps, *past[:3]]
        if len(past) == 1:
            ahead = step.move(x, eps)[0]
            direction = (eps + denoise(ahead, per_image(x, step.t_next))) / 2
        else:
            direction = sum((w * e for w, e in zip(ADAMS_BASHFORTH[len(past)], past, strict=True)), eps.new_zeros(()))
        x, x0 = step.move(x, direction)
        on_step(i, x0)
    return x
