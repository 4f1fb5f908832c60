"""Noise levels, and what a network's answer means at one: the two facts in which families of models differ.

At a noise level x = signal * x0 + noise * eps, where x0 is the clean latent and eps is standard normal noise. Stable
Diffusion keeps signal^2 + noise^2 = 1 (variance preserving), a flow keeps signal + noise = 1. A network answers with
eps, with v = signal * eps - noise * x0 (Salimans and Ho 2022), or with the flow's velocity eps - x0 (Lipman et al.
2022). `Prediction` is any such answer in both languages, so that no sampler has to know which it was.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

TRAINED = 1000
"""Timesteps that every family is trained on."""
LEAST_SIGNAL = 1e-4
"""Of a flow's first level, which holds none, where a solver takes its logarithm."""
LEAST_ALPHA_BAR = 4.8973451890853435e-08
"""alpha-bar of the last level where terminal SNR is zero: WebUI's value, small enough, and nothing divides by 0."""

ALIGN_YOUR_STEPS_SD = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)
ALIGN_YOUR_STEPS_SDXL = (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029)
"""Sigmas of the schedule "Align Your Steps", which Sabour et al. (2024) publish for each family."""


@dataclass(frozen=True)
class Level:
    """One noise level: x = signal * x0 + noise * eps.

    `t` is what the network is told: a timestep in 0..1000, which may be fractional. `signal` and `noise` are in [0, 1].
    """

    t: float
    signal: float
    noise: float

    @property
    def sigma(self) -> float:
        """noise / signal: the deviation of the noise where the signal's scale is 1, as k-diffusion counts levels."""
        return self.noise / self.signal if self.signal else math.inf

    def noised(self, x0: Tensor, eps: Tensor) -> Tensor:
        """The clean latent `x0` brought to this level with the noise `eps` (DDPM, equation 4). All (B, C, h, w)."""
        return self.signal * x0 + self.noise * eps


@dataclass(frozen=True)
class Prediction:
    """A network's answer in both languages, (B, C, h, w) each: x = signal * x0 + noise * eps."""

    x0: Tensor
    eps: Tensor


@dataclass(frozen=True)
class PredictionType:
    """What a network answers with, under diffusers' name.

    `both(x, out, level)`: the answer `out` to x (B, C, h, w) at `level`, as a Prediction.
    `over_sigma(x, out, level)`: x0 where x is in the space of samplers over sigmas, see `Levels.scaled`.
    """

    name: str
    both: Callable[[Tensor, Tensor, Level], Prediction]
    over_sigma: Callable[[Tensor, Tensor, Level], Tensor]


def _from_eps(x: Tensor, out: Tensor, level: Level) -> Prediction:
    return Prediction((x - level.noise * out) / level.signal, out)


def _from_v(x: Tensor, out: Tensor, level: Level) -> Prediction:
    """Exact at zero terminal SNR too, where x0 cannot be had from eps."""
    return Prediction(level.signal * x - level.noise * out, level.signal * out + level.noise * x)


def _from_flow(x: Tensor, out: Tensor, level: Level) -> Prediction:
    sigma = level.t / TRAINED  # the flow's own; `level` may describe it in another space
    x0 = x - sigma * out
    return Prediction(x0, (x - level.signal * x0) / level.noise)


EPSILON = PredictionType("epsilon", _from_eps, lambda x, out, level: x - level.sigma * out)
V_PREDICTION = PredictionType(
    "v_prediction", _from_v, lambda x, out, level: level.signal**2 * x - level.noise * out)
MISTAKEN_FLOW = PredictionType(
    "flow", lambda x, out, level: _from_eps(x, x - level.t * out, level), lambda x, out, level: x - level.t * out)
"""For `MistakenFlow`."""
FLOW = PredictionType("flow", _from_flow, lambda x, out, level: x - level.t / TRAINED * out)


class Levels(ABC):
    """The noise levels that a model was trained on.

    `sigmas` (n,), float32 on the CPU, ascend; a schedule walks between them. Between two of them log(sigma) is linear
    in the index, as in k-diffusion's `DiscreteSchedule`. `align_your_steps`: the sigmas that are published for them.
    """

    align_your_steps: tuple[float, ...] = ALIGN_YOUR_STEPS_SD
    power: ClassVar[int] = 2
    """signal^power + noise^power = 1."""

    def __init__(self, sigmas: Tensor) -> None:
        self.sigmas = sigmas
        self.log_sigmas = sigmas.log()
        self.sigma_min, self.sigma_max = float(sigmas[0]), float(sigmas[-1])

    @property
    def alphas_cumprod(self) -> Tensor:
        """Cumulative product of the alphas (DDPM's alpha-bar) with these sigmas, (n,) in (0, 1)."""
        return 1 / (self.sigmas**2 + 1)

    @abstractmethod
    def at_t(self, t: int) -> Level:
        """The trained level of index `t`, for samplers over timesteps."""

    @abstractmethod
    def at_sigma(self, sigma: float) -> Level:
        """The level of any `sigma` above 0, for samplers over sigmas."""

    @abstractmethod
    def scaled(self, x: Tensor, level: Level) -> Tensor:
        """x (B, C, h, w) of a sampler over sigmas as the network wants it."""

    @abstractmethod
    def sigma_of(self, level: Level) -> float:
        """The sigma of `level` as samplers over sigmas count it."""

    @abstractmethod
    def noised(self, x0: Tensor, eps: Tensor, level: Level) -> Tensor:
        """`Level.noised` in the space of samplers over sigmas."""

    @property
    def signals(self) -> Tensor:
        """The signal of each trained level, (n,) float64, above 0."""
        return self.alphas_cumprod.double() ** 0.5

    def told(self, index: float, noise: float) -> float:
        """What the network is told at the trained level of the fractional `index`, where there is that much noise."""
        return index

    def as_webui_walks(self) -> Levels:
        """These levels as WebUI 1.10 gives them to samplers over timesteps; a flow's are others than for those over
        sigmas."""
        return self

    def meaning(self, prediction: PredictionType) -> PredictionType:
        """How a sampler over timesteps reads what a network answers that gives `prediction`."""
        return prediction

    def downcast(self) -> Levels:
        """These levels with alpha-bar rounded to half precision, as WebUI had them before 1.7."""
        return self

    def zero_terminal(self) -> Levels:
        """These levels stretched so that the last one holds no signal, see `zero_terminal`; a flow's hold none anyway.
        """
        return self

    def sigma_to_t(self, sigma: Tensor) -> Tensor:
        """Fractional indices of `sigma`, clamped to the table, same shape."""
        log_sigma = sigma.cpu().log()
        low = torch.searchsorted(self.log_sigmas, log_sigma.contiguous(), right=True).sub(1)
        low = low.clamp(0, len(self.log_sigmas) - 2)
        below, above = self.log_sigmas[low], self.log_sigmas[low + 1]
        weight = ((log_sigma - below) / (above - below)).clamp(0, 1)
        return (low + weight).to(sigma.device)

    def t_to_sigma(self, t: Tensor) -> Tensor:
        """Sigmas of the (fractional) indices `t`, same shape."""
        low, high, weight = t.floor().long(), t.ceil().long(), t.frac()
        return ((1 - weight) * self.log_sigmas[low] + weight * self.log_sigmas[high]).exp()


class VariancePreserving(Levels):
    """Levels with signal^2 + noise^2 = 1 (DDPM; Ho et al. 2020). Samplers over sigmas walk x / signal."""

    def __init__(self, alphas_cumprod: Tensor, align_your_steps: tuple[float, ...] = ALIGN_YOUR_STEPS_SD) -> None:
        """alphas_cumprod (n,), float32, descending in (0, 1)."""
        super().__init__(((1 - alphas_cumprod) / alphas_cumprod) ** 0.5)
        self._alphas_cumprod, self.align_your_steps = alphas_cumprod, align_your_steps

    @property
    def alphas_cumprod(self) -> Tensor:
        return self._alphas_cumprod

    def at_t(self, t: int) -> Level:
        alpha_bar = float(self._alphas_cumprod[t])
        return Level(t, alpha_bar**0.5, (1 - alpha_bar) ** 0.5)

    def at_sigma(self, sigma: float) -> Level:
        single = torch.tensor([sigma], dtype=torch.float32)  # k-diffusion's precision
        root = float((single**2 + 1) ** 0.5)
        return Level(float(self.sigma_to_t(single)), 1 / root, sigma / root)

    def scaled(self, x: Tensor, level: Level) -> Tensor:
        return x / (1 / level.signal)  # divided, as k-diffusion does: a product rounds otherwise

    def sigma_of(self, level: Level) -> float:
        return level.sigma

    def noised(self, x0: Tensor, eps: Tensor, level: Level) -> Tensor:
        return x0 + level.sigma * eps

    def downcast(self) -> VariancePreserving:
        halved = self._alphas_cumprod.half()
        levels = VariancePreserving(halved.float(), self.align_your_steps)
        sigmas = ((1 - halved) / halved) ** 0.5  # each operation rounds again, as in WebUI
        levels.sigmas, levels.log_sigmas = sigmas.float(), sigmas.log().float()
        levels.sigma_min, levels.sigma_max = float(sigmas[0]), float(sigmas[-1])
        return levels

    def zero_terminal(self) -> VariancePreserving:
        return zero_terminal(self)


def stable_diffusion(align_your_steps: tuple[float, ...] = ALIGN_YOUR_STEPS_SD) -> VariancePreserving:
    """Stable Diffusion's levels: betas linear in the square root, 0.00085 to 0.0120."""
    betas = torch.linspace(0.00085**0.5, 0.0120**0.5, TRAINED, dtype=torch.float64) ** 2
    return VariancePreserving(torch.cumprod(1.0 - betas, dim=0).float(), align_your_steps)


def zero_terminal(levels: VariancePreserving) -> VariancePreserving:
    """`levels` stretched so that the last one holds no signal (Lin et al. 2023, algorithm 1)."""
    root = levels.alphas_cumprod.sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    alphas = root**2
    alphas[-1] = LEAST_ALPHA_BAR
    return VariancePreserving(alphas, levels.align_your_steps)


class Flow(Levels):
    """Levels of a rectified flow, signal + noise = 1 (Liu et al. 2022; Esser et al. 2024).

    The network is told 1000 * sigma. Samplers over sigmas walk x itself, with their usual formulas, as WebUI does for
    Stable Diffusion 3.
    """

    power = 1

    @classmethod
    def shifted(cls, shift: float) -> Flow:
        """sigma = shift * s / (1 + (shift - 1) * s) for s in (0, 1] (Esser et al. 2024, equation 23)."""
        s = torch.arange(1, TRAINED + 1, dtype=torch.float32) / TRAINED
        return cls(shift * s / (1 + (shift - 1) * s))

    def at_t(self, t: int) -> Level:
        return self.at_sigma(float(self.sigmas[t]))

    def at_sigma(self, sigma: float) -> Level:
        return Level(sigma * TRAINED, 1 - sigma, sigma)

    def scaled(self, x: Tensor, level: Level) -> Tensor:
        return x

    def sigma_of(self, level: Level) -> float:
        return level.noise

    def noised(self, x0: Tensor, eps: Tensor, level: Level) -> Tensor:
        return level.noised(x0, eps)

    @property
    def signals(self) -> Tensor:
        return 1 - self.sigmas.double().clamp(max=1 - LEAST_SIGNAL)

    def told(self, index: float, noise: float) -> float:
        return noise * TRAINED

    def as_webui_walks(self) -> Levels:
        return MistakenFlow(self.alphas_cumprod)


class MistakenFlow(VariancePreserving):
    """A flow's levels as WebUI 1.10.1 gives them to DDIM, PLMS and UniPC: alpha-bar = 1 / (sigma^2 + 1), the network is
    told the index of the level as if it were a sigma, and its x0 is taken for eps. That makes no picture of anything,
    and is here for parity with WebUI."""

    def asked(self, level: Level) -> Level:
        """`level`, of which a sampler over timesteps asks, as the network is told it."""
        return replace(level, t=level.t * TRAINED)

    def meaning(self, prediction: PredictionType) -> PredictionType:
        return MISTAKEN_FLOW
