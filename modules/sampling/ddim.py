"""DDIM (Song et al. 2020, "Denoising Diffusion Implicit Models", equation 12) and its kin over timesteps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from modules.sampling.mask import BeforeStep, leave_alone
from modules.sampling.types import Denoiser, DrawNoise, OnStep


@dataclass(frozen=True)
class TimeStep:
    """One DDIM step: from noise level `alpha_bar` at timestep `t` to `alpha_bar_next` (both in (0, 1))."""

    t: int
    alpha_bar: float
    alpha_bar_next: float

    def sigma(self, eta: float) -> float:
        """How much fresh noise the step adds: 0 for eta 0, DDPM's for eta 1 (equation 16)."""
        a, b = self.alpha_bar, self.alpha_bar_next
        return float(eta * ((1 - b) / (1 - a) * (1 - a / b)) ** 0.5)


def steps_down(grid: Sequence[int], alphas_cumprod: Tensor, *, classic: bool) -> list[TimeStep]:
    """The steps from the top of the ascending `grid` of timesteps.

    Classic DDIM goes down to alphas_cumprod[0]. WebUI since 1.6 leaves the lowest step out and ends at grid[0].
    """
    below = [0, *grid]
    steps = [TimeStep(t, float(alphas_cumprod[t]), float(alphas_cumprod[below[i]])) for i, t in enumerate(grid)]
    return steps[::-1] if classic else steps[:0:-1]


def sample_ddim(denoise: Denoiser, x: Tensor, steps: Sequence[TimeStep], *, noise: DrawNoise, on_step: OnStep,
                eta: float = 0.0, before_step: BeforeStep = leave_alone) -> Tensor:
    """x (B, 4, h, w) at the first step's level -> x at the last step's. `before_step` is where a mask is blended in."""
    for i, step in enumerate(steps):
        x = before_step(x, step.alpha_bar)
        eps = denoise(x, x.new_full((len(x),), step.t))
        x0 = (x - (1 - step.alpha_bar) ** 0.5 * eps) / step.alpha_bar**0.5
        sigma = step.sigma(eta)
        x = step.alpha_bar_next**0.5 * x0 + (1 - step.alpha_bar_next - sigma**2) ** 0.5 * eps
        if sigma:
            x = x + sigma * noise()
        on_step(i, x0)
    return x


def sample_ddim_cfgpp(denoise_both: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], x: Tensor,
                      steps: Sequence[TimeStep], *, noise: DrawNoise, on_step: OnStep, eta: float = 0.0) -> Tensor:
    """CFG++ (Chung et al. 2024): the guided eps gives x0, the unconditional eps the direction back."""
    for i, step in enumerate(steps):
        guided, unconditional = denoise_both(x, x.new_full((len(x),), step.t))
        x0 = (x - (1 - step.alpha_bar) ** 0.5 * guided) / step.alpha_bar**0.5
        sigma = step.sigma(eta)
        x = step.alpha_bar_next**0.5 * x0 + (1 - step.alpha_bar_next - sigma**2) ** 0.5 * unconditional
        if sigma:
            x = x + sigma * noise()
        on_step(i, x0)
    return x
