"""Noise schedules: which noise levels a sampler walks through. Each is one function from a number of steps to levels.

Two languages are spoken. Timesteps t = 0..999 index `alphas_cumprod` (DDPM; Ho et al. 2020). Sigmas are the noise's
standard deviation when the signal's scale is left at 1, sigma = sqrt((1 - alpha_bar) / alpha_bar) (Karras et al. 2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from modules.errors import InvalidInput
from modules.sampling.levels import Levels


@dataclass(frozen=True)
class ScheduleRange:
    """What a schedule may depend on besides the number of steps. `rho` None takes the schedule's own."""

    levels: Levels
    sigma_min: float
    sigma_max: float
    rho: float | None = None
    alpha: float = 0.6
    beta: float = 0.6


def timesteps(steps: int) -> list[int]:
    """Ascending timesteps of DDIM and its kin: every (1000 // steps)-th, plus one, at most 999.

    May hold more than `steps` entries (7 -> 8), as in WebUI's `CompVisSampler.get_timesteps`.
    """
    if not 1 <= steps <= 1000:
        raise InvalidInput("This sampler takes between 1 and 1000 steps.", field="steps")
    return [min(t + 1, 999) for t in range(0, 1000, 1000 // steps)]


def uniform(n: int, r: ScheduleRange) -> Tensor:
    """Equal steps in t over all trained levels."""
    first, last = r.levels.sigma_to_t(torch.tensor([r.levels.sigma_max, r.levels.sigma_min])).tolist()
    return _with_zero(r.levels.t_to_sigma(torch.linspace(first, last, n)))


def karras(n: int, r: ScheduleRange) -> Tensor:
    """Equal steps in sigma^(1/rho) (Karras et al. 2022, equation 5); rho 7."""
    return _with_zero(karras_levels(n, r.sigma_min, r.sigma_max, r.rho or 7.0))


def karras_levels(n: int, low: float, high: float, rho: float = 7.0) -> Tensor:
    """`n` sigmas from `high` down to `low`, both included."""
    first, last = high ** (1 / rho), low ** (1 / rho)
    levels: Tensor = (first + torch.linspace(0, 1, n) * (last - first)) ** rho
    return levels


def exponential(n: int, r: ScheduleRange) -> Tensor:
    """Equal steps in log(sigma)."""
    return _with_zero(torch.linspace(math.log(r.sigma_max), math.log(r.sigma_min), n).exp())


def polyexponential(n: int, r: ScheduleRange) -> Tensor:
    """Polynomial steps in log(sigma); rho 1 makes it exponential."""
    ramp = torch.linspace(1, 0, n) ** (r.rho or 1.0)
    return _with_zero((ramp * (math.log(r.sigma_max) - math.log(r.sigma_min)) + math.log(r.sigma_min)).exp())


def sgm_uniform(n: int, r: ScheduleRange) -> Tensor:
    """Equal steps in t, leaving out the last level, as Stability's generative-models."""
    first, last = _t_range(r)
    return _with_zero(r.levels.t_to_sigma(torch.linspace(first, last, n + 1)[:-1]))


def normal(n: int, r: ScheduleRange) -> Tensor:
    """Equal steps in t, both ends included."""
    first, last = _t_range(r)
    return _with_zero(r.levels.t_to_sigma(torch.linspace(first, last, n)))


def simple(n: int, r: ScheduleRange) -> Tensor:
    """Every (trained levels / n)-th trained level from the top."""
    sigmas = r.levels.sigmas  # (1000,), or (50,) of LCM
    return _with_zero(torch.stack([sigmas[-(1 + int(i * len(sigmas) / n))] for i in range(n)]))


def ddim(n: int, r: ScheduleRange) -> Tensor:
    """The levels of DDIM's grid: every (trained levels // n)-th from index 1. The count may differ from `n`."""
    sigmas = r.levels.sigmas  # (1000,), or (50,) of LCM
    return _with_zero(sigmas[1 :: max(len(sigmas) // n, 1)].flip(0))


def beta(n: int, r: ScheduleRange) -> Tensor:
    """Quantiles of a Beta distribution, stretched over sigma (Lee et al. 2024, "Beta Sampling is All You Need")."""
    from scipy.stats import beta as distribution

    quantiles = distribution.ppf(1 - np.linspace(0, 1, n), r.alpha, r.beta)
    return _with_zero(torch.tensor(r.sigma_min + quantiles * (r.sigma_max - r.sigma_min), dtype=torch.float32))


def kl_optimal(n: int, r: ScheduleRange) -> Tensor:
    """Equal steps in atan(sigma) ("Align Your Steps", Sabour et al. 2024); n + 1 levels that end at sigma_min."""
    ramp = torch.arange(n + 1, dtype=torch.float32) / n
    return torch.tan(ramp * math.atan(r.sigma_min) + (1 - ramp) * math.atan(r.sigma_max))


def align_your_steps(n: int, r: ScheduleRange) -> Tensor:
    """The optimised levels that Sabour et al. (2024) publish for the family, log-linear between them."""
    table = np.array(r.levels.align_your_steps)
    if n != len(table):
        places = np.linspace(0, 1, len(table))
        table = np.exp(np.interp(np.linspace(0, 1, n), places, np.log(table[::-1]))[::-1])
    return _with_zero(torch.tensor(table.copy(), dtype=torch.float32))


def _with_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def _t_range(r: ScheduleRange) -> tuple[float, float]:
    first, last = r.levels.sigma_to_t(torch.tensor([r.sigma_max, r.sigma_min])).tolist()
    return first, last


@dataclass(frozen=True)
class Schedule:
    """A schedule under its WebUI label. `name` is the identifier that the HTTP API lists."""

    name: str
    label: str
    levels: Callable[[int, ScheduleRange], Tensor]
    default_rho: float = -1
    aliases: tuple[str, ...] = ()


SCHEDULES = (
    Schedule("uniform", "Uniform", uniform),
    Schedule("karras", "Karras", karras, 7.0),
    Schedule("exponential", "Exponential", exponential),
    Schedule("polyexponential", "Polyexponential", polyexponential, 1.0),
    Schedule("sgm_uniform", "SGM Uniform", sgm_uniform, aliases=("SGMUniform",)),
    Schedule("kl_optimal", "KL Optimal", kl_optimal),
    Schedule("align_your_steps", "Align Your Steps", align_your_steps),
    Schedule("simple", "Simple", simple),
    Schedule("normal", "Normal", normal),
    Schedule("ddim", "DDIM", ddim),
    Schedule("beta", "Beta", beta),
)

AUTOMATIC = "Automatic"


def find_schedule(text: str) -> Schedule:
    """The schedule of that label, name or alias, whatever the case. Raises InvalidInput when there is none."""
    for schedule in SCHEDULES:
        if text.lower() in (schedule.name, schedule.label.lower(), *(alias.lower() for alias in schedule.aliases)):
            return schedule
    raise InvalidInput(f"There is no schedule type called {text!r}.", field="scheduler")
