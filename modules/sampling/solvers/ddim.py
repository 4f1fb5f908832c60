"""DDIM (Song et al. 2020, "Denoising Diffusion Implicit Models", equation 12) and its kin over timesteps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from modules.sampling.levels import Level, Levels, Prediction
from modules.sampling.mask import BeforeStep, leave_alone
from modules.sampling.types import DrawNoise, OnStep, Predictor, PredictorOfBoth


@dataclass(frozen=True)
class Step:
    """One step down, from `level` to `below`."""

    level: Level
    below: Level

    def sigma(self, eta: float) -> float:
        """The deviation of the fresh noise that the step adds: 0 for eta 0, DDPM's for eta 1 (equation 16)."""
        here, below = self.level, self.below
        kept = (here.signal * below.noise / (below.signal * here.noise)) ** 2
        return float(eta * below.noise * (1 - kept) ** 0.5)

    def move(self, at: Prediction, back: Tensor | None = None, sigma: float = 0.0) -> Tensor:
        """x at the level below, (B, C, h, w), for the prediction `at` this level. `back` is the noise put back; None
        takes the prediction's own eps. `sigma` leaves room for fresh noise of that deviation."""
        direction = (self.below.noise**2 - sigma**2) ** 0.5 * (at.eps if back is None else back)
        result: Tensor = self.below.signal * at.x0 + direction
        return result


def steps_down(grid: Sequence[int], levels: Levels, *, classic: bool) -> list[Step]:
    """The steps from the top of the ascending `grid` of timesteps.

    Classic DDIM goes down to the lowest trained level. WebUI since 1.6 leaves that step out and ends at grid[0].
    """
    walked = [levels.at_t(t) for t in (0, *grid)]
    steps = [Step(level, below) for level, below in zip(walked[1:], walked, strict=False)]
    return steps[::-1] if classic else steps[:0:-1]


def sample_ddim(predict: Predictor, x: Tensor, steps: Sequence[Step], *, noise: DrawNoise, on_step: OnStep,
                eta: float = 0.0, before_step: BeforeStep = leave_alone) -> Tensor:
    """x (B, C, h, w) at the first step's level -> x at the last step's. `before_step` is where a mask is blended in."""
    for i, step in enumerate(steps):
        x = before_step(x, step.level)
        at = predict(x, step.level)
        sigma = step.sigma(eta)
        x = step.move(at, sigma=sigma)
        if sigma:
            x = x + sigma * noise()
        on_step(i, at.x0)
    return x


def sample_ddpm(predict: Predictor, x: Tensor, steps: Sequence[Step], *, noise: DrawNoise, on_step: OnStep,
                before_step: BeforeStep = leave_alone) -> Tensor:
    """DDPM's ancestral sampling (Ho et al. 2020, algorithm 2) over the same timesteps: DDIM with eta 1."""
    return sample_ddim(predict, x, steps, noise=noise, on_step=on_step, eta=1.0, before_step=before_step)


def sample_ddim_cfgpp(predict_both: PredictorOfBoth, x: Tensor, steps: Sequence[Step], *, noise: DrawNoise,
                      on_step: OnStep, eta: float = 0.0) -> Tensor:
    """CFG++ (Chung et al. 2024): the guided prediction gives x0, the unconditional eps is the noise put back."""
    for i, step in enumerate(steps):
        guided, unconditional = predict_both(x, step.level)
        sigma = step.sigma(eta)
        x = step.move(guided, back=unconditional.eps, sigma=sigma)
        if sigma:
            x = x + sigma * noise()
        on_step(i, guided.x0)
    return x
