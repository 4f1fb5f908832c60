"""DDIM (Song et al. 2020, "Denoising Diffusion Implicit Models", equation 12) and its kin over timesteps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from modules.sampling.mask import BeforeStep, leave_alone
from modules.sampling.types import Denoiser, DrawNoise, OnStep, per_image


@dataclass(frozen=True)
class TimeStep:
    """One step down: from noise level `alpha_bar` at timestep `t` to `alpha_bar_next` at `t_next`, levels in (0, 1)."""

    t: int
    t_next: int
    alpha_bar: float
    alpha_bar_next: float

    def sigma(self, eta: float) -> float:
        """How much fresh noise the step adds: 0 for eta 0, DDPM's for eta 1 (equation 16)."""
        a, b = self.alpha_bar, self.alpha_bar_next
        return float(eta * ((1 - b) / (1 - a) * (1 - a / b)) ** 0.5)

    def move(self, x: Tensor, eps: Tensor, back: Tensor | None = None, sigma: float = 0.0) -> tuple[Tensor, Tensor]:
        """(x at the next level, x0) for the noise `eps` in x; `back` is the noise put back, `eps` if left out."""
        x0 = (x - (1 - self.alpha_bar) ** 0.5 * eps) / self.alpha_bar**0.5
        direction = (1 - self.alpha_bar_next - sigma**2) ** 0.5 * (eps if back is None else back)
        return self.alpha_bar_next**0.5 * x0 + direction, x0


def steps_down(grid: Sequence[int], alphas_cumprod: Tensor, *, classic: bool) -> list[TimeStep]:
    """The steps from the top of the ascending `grid` of timesteps.

    Classic DDIM goes down to alphas_cumprod[0]. WebUI since 1.6 leaves the lowest step out and ends at grid[0].
    """
    steps = [TimeStep(t, below, float(alphas_cumprod[t]), float(alphas_cumprod[below]))
             for t, below in zip(grid, [0, *grid], strict=False)]
    return steps[::-1] if classic else steps[:0:-1]


def sample_ddim(denoise: Denoiser, x: Tensor, steps: Sequence[TimeStep], *, noise: DrawNoise, on_step: OnStep,
                eta: float = 0.0, before_step: BeforeStep = leave_alone) -> Tensor:
    """x (B, 4, h, w) at the first step's level -> x at the last step's. `before_step` is where a mask is blended in."""
    for i, step in enumerate(steps):
        x = before_step(x, step.alpha_bar)
        eps = denoise(x, per_image(x, step.t))
        sigma = step.sigma(eta)
        x, x0 = step.move(x, eps, sigma=sigma)
        if sigma:
            x = x + sigma * noise()
        on_step(i, x0)
    return x


def sample_ddpm(denoise: Denoiser, x: Tensor, steps: Sequence[TimeStep], *, noise: DrawNoise, on_step: OnStep,
                before_step: BeforeStep = leave_alone) -> Tensor:
    """DDPM's ancestral sampling (Ho et al. 2020, algorithm 2) over the same timesteps: DDIM with eta 1."""
    return sample_ddim(denoise, x, steps, noise=noise, on_step=on_step, eta=1.0, before_step=before_step)


def sample_ddim_cfgpp(denoise_both: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], x: Tensor,
                      steps: Sequence[TimeStep], *, noise: DrawNoise, on_step: OnStep, eta: float = 0.0) -> Tensor:
    """CFG++ (Chung et al. 2024): the guided eps gives x0, the unconditional eps is the noise put back."""
    for i, step in enumerate(steps):
        guided, unconditional = denoise_both(x, per_image(x, step.t))
        sigma = step.sigma(eta)
        x, x0 = step.move(x, guided, back=unconditional, sigma=sigma)
        if sigma:
            x = x + sigma * noise()
        on_step(i, x0)
    return x
