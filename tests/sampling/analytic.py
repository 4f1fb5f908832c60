"""The exact answers for Gaussian data, and short ways to call the sampling floor."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from fakes import CHANNELS, FakeModel
from torch import Tensor

from modules.request.options import Options
from modules.sampling import registry
from modules.sampling.conditioning import Conditioning
from modules.sampling.guidance import Guidance, GuidedDenoiser, ScheduledConditioning
from modules.sampling.levels import Level
from modules.sampling.noise import ImageNoise
from modules.sampling.sample import InitLatent, Plan, sample

MEAN, STD = 0.2, 0.5


def denoise(x: Tensor, sigma: float | Tensor) -> Tensor:
    """E[x0 | x] for x = x0 + sigma * noise and x0 ~ N(MEAN, STD^2): the perfect network in sigma space."""
    variance = sigma**2
    return (STD**2 * x + variance * MEAN) / (STD**2 + variance)


def flow(x: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """Where the probability flow carries x from `sigma` to `sigma_next`.

    dx/dsigma = (x - denoise(x)) / sigma = sigma (x - MEAN) / (STD^2 + sigma^2), so x - MEAN is proportional to
    sqrt(STD^2 + sigma^2).
    """
    return MEAN + (x - MEAN) * math.sqrt((STD**2 + sigma_next**2) / (STD**2 + sigma**2))


def sigma_of(alpha_bar: float) -> float:
    return math.sqrt(1 / alpha_bar - 1)


def scaled_flow(x: Tensor, alpha_bar: float, alpha_bar_next: float) -> Tensor:
    """`flow` in the scaled space of timestep samplers, where x = sqrt(alpha_bar) * (x0 + sigma * noise)."""
    return alpha_bar_next**0.5 * flow(x / alpha_bar**0.5, sigma_of(alpha_bar), sigma_of(alpha_bar_next))


def nothing(i: int, x0: Tensor) -> None:
    """Progress that nobody looks at."""


@dataclass
class Watched(FakeModel):
    """A FakeModel that keeps every x that it is shown, and can be told to answer in its own way."""

    mean: float = MEAN
    std: float = STD
    seen: list[Tensor] = field(default_factory=list)
    contexts: list[Tensor] = field(default_factory=list)

    def predict(self, x: Tensor, level: Level, cond: Conditioning) -> Tensor:
        self.seen.append(x.clone())
        self.contexts.append(cond.tokens.clone())
        return super().predict(x, level, cond)


def context(*values: float, tokens: int = 77) -> Conditioning:
    """A context that moves the four channels' means by `values`."""
    row = torch.zeros(CHANNELS)
    row[: len(values)] = torch.tensor(values)
    return Conditioning(row.expand(tokens, CHANNELS).clone())


def always(words: Conditioning) -> ScheduledConditioning:
    return ScheduledConditioning(((10**6, words),))


def unguided(images: int) -> Guidance:
    """One row an image: the model's own distribution."""
    nothing_said = always(context())
    return Guidance((((nothing_said, 1.0),),) * images, nothing_said, 1.0)


def run(name: str, steps: int, *, model: FakeModel | None = None, seeds: Sequence[int] = (1,), size: int = 8,
        schedule: str = "Automatic", eta: float | None = None, source: InitLatent | None = None,
        guidance: Guidance | None = None, report: Callable[..., None] = lambda *_: None, **options: Any) -> Tensor:
    """The latent (B, 4, size, size) of sampler `name` as the engine would run it."""
    sampler, _ = registry.find_sampler(name)
    plan = Plan(sampler, schedule, steps, eta, Options().replaced(options))
    noise = ImageNoise((4, size, size), seeds, seed_delta=plan.options.eta_noise_seed_delta,
                       source=plan.options.randn_source)
    denoiser = GuidedDenoiser(model or Watched(), guidance or unguided(len(seeds)))
    return sample(denoiser, noise, plan, report, source)
