"""From noise to a clean latent: schedule, noise, denoiser, mask and sampler put together."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from modules.errors import InvalidInput
from modules.request.options import Options
from modules.sampling import registry
from modules.sampling.guidance import GuidedDenoiser
from modules.sampling.mask import (
    BeforeStep,
    Blend,
    MaskedDenoiser,
    MaskedInput,
    MaskedNoise,
    leave_alone,
    linear_blend,
    noised_original,
)
from modules.sampling.noise import BrownianTree, ImageNoise
from modules.sampling.schedules import AUTOMATIC, NoiseLevels, ScheduleRange, find_schedule, timesteps
from modules.sampling.small_masks import WindowedDenoiser, windowed_denoiser
from modules.sampling.solvers import ddim
from modules.sampling.types import Denoiser

MOST_STEPS = 10_000  # of a whole schedule, most of which is left out

Wrap = Callable[[Denoiser], Denoiser]

Report = Callable[[int, int, Tensor], None]
"""(step, steps, x0): step is 1-based; x0 (B, 4, h, w) is the present guess. May raise `errors.Stopped`."""


@dataclass(frozen=True)
class Plan:
    """How to sample. `schedule` is a label or Automatic; `steps` and `eta` as the person asked."""

    sampler: registry.Sampler
    schedule: str
    steps: int
    eta: float | None = None
    options: Options = field(default_factory=Options)


@dataclass(frozen=True)
class InitLatent:
    """A picture to start from. `latent` (B, 4, h, w); `paint` (1, 1, h, w) in [0, 1] or None for all of it.

    `strength` 0..1 says how far back into noise to go; `noise_multiplier` scales that noise. `exact_steps` makes
    `steps` the number of steps really done (WebUI's "do exactly the amount of steps"). `soft` replaces the plain blend,
    and an extension's `other_blend` either.
    """

    latent: Tensor
    strength: float
    paint: Tensor | None = None
    noise_multiplier: float = 1.0
    exact_steps: bool = False
    soft: Blend | None = None
    other_blend: Blend | None = None

    def blend_end(self, latent: Tensor) -> Tensor:
        """`latent` with the kept part put back, as WebUI does after every sampler; soft inpainting leaves it out."""
        if self.paint is None or self.soft:
            return latent
        return latent * self.paint + self.latent * (1 - self.paint)

    def blend(self) -> Blend:
        """How original and current are mixed within the network's input or answer."""
        assert self.paint is not None
        return self.other_blend or self.soft or linear_blend(self.paint)

    def steps(self, asked: int) -> tuple[int, int]:
        """(steps of the whole schedule, how many of them lie below the starting level): `setup_img2img_steps`.

        Raises InvalidInput where that is a schedule that nobody means.
        """
        strength = min(self.strength, 0.999)
        if self.exact_steps and strength > 0:
            if asked / strength > MOST_STEPS:
                raise InvalidInput(f"Denoising strength {strength:g} is too small for exactly {asked} steps.",
                                   field="denoising_strength")
            return max(int(asked / strength), 1), asked - 1
        return asked, int(strength * asked)


def as_it_is(denoise: Denoiser) -> Denoiser:
    """No wrapper."""
    return denoise


def sample(denoise: GuidedDenoiser, noise: ImageNoise, plan: Plan, report: Report,
           source: InitLatent | None = None, wrap: Wrap = as_it_is) -> Tensor:
    """The sampled latent, (B, 4, h, w): from pure noise, or from `source` noised to its strength. `wrap` puts something
    around the guided network.

    Raises whatever `report` raises.
    """
    walk = _walk_timesteps if plan.sampler.timesteps else _walk_sigmas
    latent = walk(denoise, noise, plan, report, source, wrap)
    return source.blend_end(latent) if source else latent


def total_calls(plan: Plan) -> int:
    """The number of network calls that prompt schedules count on: WebUI's `total_steps`."""
    return plan.steps * 2 if plan.sampler.second_order else plan.steps


def _walk_timesteps(denoise: GuidedDenoiser, noise: ImageNoise, plan: Plan, report: Report,
                    source: InitLatent | None, wrap: Wrap) -> Tensor:
    """DDIM and its kin: eps over a grid of timesteps, x scaled to unit variance."""
    options, wants = plan.options, plan.sampler.wants
    alphas = denoise.model.alphas_cumprod  # (1000,) in (0, 1)
    if options.use_downcasted_alpha_bar:
        alphas = alphas.half().float()
    classic = "before_step" in wants and options.ddim_loop == "classic"
    asked, below = source.steps(plan.steps) if source else (plan.steps, 0)
    grid = timesteps(asked + options.always_discard_next_to_last_sigma)
    x = initial = noise.first()  # (B, 4, h, w)
    ask: Callable[[Tensor, Tensor], Any] = _both(denoise, wrap) if "denoise_both" in wants else wrap(denoise)
    before_step: BeforeStep = leave_alone
    eta = options.eta_ddim if plan.eta is None else plan.eta
    window: WindowedDenoiser | None = None
    if source:
        initial = initial * source.noise_multiplier
        alpha = float(alphas[grid[below]])
        x = alpha**0.5 * (source.latent + options.img2img_extra_noise * initial) + (1 - alpha) ** 0.5 * initial
        grid = grid[:below]
        if classic and source.soft:
            ask = MaskedNoise(ask, source.latent, source.blend(), alphas)
        elif classic and source.paint is not None:
            fresh = options.mask_noise == "fresh"
            before_step = noised_original(source.latent, source.paint, noise.next if fresh else lambda: initial,
                                          source.other_blend)
            # Only then is the kept part known in advance, and the way from one noise level to a later one too.
            if not (fresh or source.other_blend) and "eta" in wants and eta == 0 and ask is denoise:
                window = windowed_denoiser(denoise, options.small_mask, source.paint,
                                        ddim.steps_down(grid, alphas, classic=True), before_step, initial)
                ask = window or denoise
        elif source.paint is not None:
            ask = MaskedInput(ask, source.latent, source.blend())
    walked = grid if "grid" in wants else ddim.steps_down(grid, alphas, classic=classic)
    with closing(window) if window else nullcontext():
        return registry.run(plan.sampler, ask, x, walked, {
            "noise": noise.next, "eta": eta, "before_step": before_step,
            "alphas_cumprod": alphas, "from_noise": source is None, "variant": options.uni_pc_variant,
            "order": options.uni_pc_order, "spacing": options.uni_pc_skip_type,
            "lower_order_final": options.uni_pc_lower_order_final,
            "on_step": lambda i, guess: report(i + 1, len(walked), guess)})


def _both(denoise: GuidedDenoiser, wrap: Wrap) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """`denoise.both` with the guided answer wrapped."""
    uncond: list[Tensor] = []

    def guided(x: Tensor, t: Tensor) -> Tensor:
        eps, plain = denoise.both(x, t)
        uncond[:] = [plain]
        return eps

    wrapped = wrap(guided)
    return lambda x, t: (wrapped(x, t), uncond[0])


def _walk_sigmas(denoise: GuidedDenoiser, noise: ImageNoise, plan: Plan, report: Report,
                 source: InitLatent | None, wrap: Wrap) -> Tensor:
    """k-diffusion samplers: x0 over sigmas, the signal's scale left at 1."""
    levels = plan.sampler.levels(denoise.model.alphas_cumprod)
    asked, below = source.steps(plan.steps) if source else (plan.steps, 0)
    sigmas = build_sigmas(plan, levels, asked)  # (asked + 1,)
    x = noise.first()  # (B, 4, h, w)
    x0: Denoiser = plan.sampler.denoiser(wrap(denoise), levels)
    if source:
        block = x * source.noise_multiplier
        walked = _falling(sigmas[asked - below - 1 :])
        x = source.latent + block * walked[0] + block * plan.options.img2img_extra_noise
        if source.paint is not None:
            x0 = MaskedDenoiser(x0, source.latent, source.blend())
    else:
        walked = _falling(sigmas)
        x = x * walked[0]
    return registry.run(plan.sampler, x0, x, walked, {
        "noise": noise.next, "on_step": lambda i, guess: report(i + 1, len(walked) - 1, guess),
        **_stochastic(plan, noise, x, sigmas)})


def build_sigmas(plan: Plan, levels: NoiseLevels, steps: int) -> Tensor:
    """The descending sigmas of a whole schedule, (steps + 1,), with the options that bend it."""
    options = plan.options
    automatic = plan.schedule == AUTOMATIC
    schedule = find_schedule(plan.sampler.schedule if automatic else plan.schedule)
    discard = plan.sampler.discard_next_to_last or options.always_discard_next_to_last_sigma
    low, high = (0.1, 10.0) if options.use_old_karras_scheduler_sigmas else (levels.sigma_min, levels.sigma_max)
    sigmas = schedule.levels(steps + discard, ScheduleRange(
        levels, options.sigma_min or low, options.sigma_max or high, options.rho or None,
        options.beta_dist_alpha, options.beta_dist_beta))
    return torch.cat([sigmas[:-2], sigmas[-1:]]) if discard else sigmas


def _falling(sigmas: Tensor) -> Tensor:
    """`sigmas` as they are. Raises InvalidInput where they do not fall from step to step: samplers divide by that."""
    if len(sigmas) < 2 or not bool(sigmas.isfinite().all() and (sigmas.diff() < 0).all()):
        raise InvalidInput("With these settings the noise does not fall from step to step: change the schedule type, "
                           "its sigmas or rho, or the number of steps.", field="scheduler")
    return sigmas


def _stochastic(plan: Plan, noise: ImageNoise, x: Tensor, sigmas: Tensor) -> dict[str, object]:
    """What the random samplers may ask for besides plain noise."""
    options = plan.options
    positive = sigmas[sigmas > 0]
    arguments: dict[str, object] = {
        "eta": options.eta_ancestral if plan.eta is None else plan.eta,
        "s_churn": options.s_churn, "s_tmin": options.s_tmin, "s_tmax": options.s_tmax or float("inf"),
        "s_noise": options.s_noise}
    if "brownian" in plan.sampler.wants:
        seeds = noise.seeds if not options.no_dpmpp_sde_batch_determinism else (batch_seed(noise.seeds),)
        arguments["brownian"] = BrownianTree(x, float(positive.min()), float(positive.max()), seeds,
                                             options.randn_source)
    return arguments


def batch_seed(seeds: tuple[int, ...]) -> int:
    """The seed of one Brownian tree for a whole batch: what PyTorch's generator gives after its last image's seed."""
    generator = torch.Generator().manual_seed(seeds[-1])
    return int(torch.randint(0, 2**63 - 1, [], generator=generator).item())
