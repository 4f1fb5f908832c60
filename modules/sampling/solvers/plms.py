"""PLMS: pseudo linear multistep over DDIM's timesteps (Liu et al. 2022, "Pseudo Numerical Methods", PNDM)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from modules.sampling.levels import Prediction
from modules.sampling.solvers.ddim import Step
from modules.sampling.types import OnStep, Predictor

ADAMS_BASHFORTH = {2: (3 / 2, -1 / 2), 3: (23 / 12, -16 / 12, 5 / 12), 4: (55 / 24, -59 / 24, 37 / 24, -9 / 24)}


def sample_plms(predict: Predictor, x: Tensor, steps: Sequence[Step], *, on_step: OnStep) -> Tensor:
    """DDIM steps along an eps (B, C, h, w) extrapolated from the last four; the first step asks the network twice."""
    past: list[Tensor] = []  # newest first
    for i, step in enumerate(steps):
        at = predict(x, step.level)
        past = [at.eps, *past[:3]]
        if len(past) == 1:
            ahead = step.move(at)
            direction = (at.eps + predict(ahead, step.below).eps) / 2
        else:
            direction = sum((w * e for w, e in zip(ADAMS_BASHFORTH[len(past)], past, strict=True)), x.new_zeros(()))
        along = Prediction((x - step.level.noise * direction) / step.level.signal, direction)
        x = step.move(along)
        on_step(i, along.x0)
    return x
