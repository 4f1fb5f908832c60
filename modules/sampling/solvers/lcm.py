"""LCM: latent consistency models (Luo et al. 2023), for checkpoints distilled to be sampled in a few steps."""

from __future__ import annotations

from torch import Tensor

from modules.sampling.guidance import SigmaDenoiser
from modules.sampling.levels import EPSILON, V_PREDICTION, Levels, PredictionType, VariancePreserving
from modules.sampling.solvers.euler import pairs
from modules.sampling.types import Denoiser, DrawNoise, OnStep

SKIP = 20  # such models are distilled at every 20th of the 1000 timesteps: 19, 39, ... 999
SIGMA_DATA = 0.5
TIMESTEP_SCALING = 10


def sample_lcm(denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: DrawNoise, on_step: OnStep) -> Tensor:
    """At each step all the way to the clean guess, then fresh noise up to the next level."""
    for i, (sigma, sigma_next) in enumerate(pairs(sigmas)):
        x0 = denoise(x, sigma)
        x = x0 + sigma_next * noise() if sigma_next > 0 else x0
        on_step(i, x0)
    return x


class LcmLevels(VariancePreserving):
    """The fifty distilled levels; timesteps are the nearest distilled one."""

    def __init__(self, levels: Levels) -> None:
        super().__init__(levels.alphas_cumprod[SKIP - 1 :: SKIP], levels.align_your_steps)

    def sigma_to_t(self, sigma: Tensor) -> Tensor:
        """The distilled timestep nearest in log(sigma), same shape."""
        distances = (sigma.cpu().log() - self.log_sigmas[:, None]).abs()
        return (distances.argmin(dim=0).view(sigma.shape) * SKIP + SKIP - 1).to(sigma.device)

    def t_to_sigma(self, t: Tensor) -> Tensor:
        """Sigmas of timesteps, log-linear between distilled ones."""
        return super().t_to_sigma(((t - (SKIP - 1)) / SKIP).float().clamp(0, len(self.sigmas) - 1))


class LcmDenoiser(SigmaDenoiser):
    """The consistency function: the network's x0 and x itself, mixed so that it is the identity at t = 0."""

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """x (B, C, h, w) at `sigma` -> x0 (B, C, h, w)."""
        t = self._levels.at_sigma(sigma).t * TIMESTEP_SCALING
        skip = SIGMA_DATA**2 / (t**2 + SIGMA_DATA**2)
        out: float = t / (t**2 + SIGMA_DATA**2) ** 0.5
        return out * super().__call__(x, sigma) + skip * x

    def _prediction(self) -> PredictionType:
        # Models distilled so answer with eps; WebUI reads those that predict v in the same way.
        usual = super()._prediction()
        return EPSILON if usual is V_PREDICTION else usual
