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
from modules.sampling.brownian import BrownianTree
from modules.sampling.guidance import GuidedDenoiser
from modules.sampling.levels import Flow, Level, Levels, MistakenFlow, Prediction
from modules.sampling.mask import Blend, Mask, SoftBlend, linear_blend, masked_sigmas, masked_timesteps
from modules.sampling.noise import ImageNoise
from modules.sampling.pace import Pace, over_sigmas
from modules.sampling.schedules import AUTOMATIC, ScheduleRange, find_schedule, timesteps
from modules.sampling.small_masks import WindowedDenoiser, windowed_denoiser
from modules.sampling.solvers import ddim
from modules.sampling.types import Answer, Predictor, PredictorOfBoth

MOST_STEPS = 10_000  # of a whole schedule, most of which is left out

Told = Callable[[Tensor, Tensor, Level], Prediction]
"""(x, the raw answer, its level) -> the answer as a Prediction."""

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
class Wraps:
    """What extensions put around the guided network's answer and around the mask's blend. Both return what they are
    given where nothing is to change; `blend` gets the paint (1, 1, h, w) too."""

    answer: Callable[[Answer], Answer] = lambda answer: answer
    blend: Callable[[Blend, Tensor], Blend] = lambda blend, paint: blend


NO_WRAPS = Wraps()


@dataclass(frozen=True)
class InitLatent:
    """A picture to start from. `latent` (B, C, h, w); `paint` (1, 1, h, w) in [0, 1], or None for all of it.

    `strength` 0..1 says how far back into noise to go; `noise_multiplier` scales that noise. `exact_steps` makes
    `steps` the number of steps really done (WebUI's "do exactly the amount of steps"). `soft` replaces the plain blend.
    `begin` is what is noised at the start where that is not `latent`, which then is only what the mask keeps.
    """

    latent: Tensor
    strength: float
    paint: Tensor | None = None
    noise_multiplier: float = 1.0
    exact_steps: bool = False
    soft: SoftBlend | None = None
    begin: Tensor | None = None

    @property
    def start(self) -> Tensor:
        """What is noised at the start, (B, C, h, w)."""
        return self.latent if self.begin is None else self.begin

    def blend_end(self, latent: Tensor) -> Tensor:
        """`latent` with the kept part put back, as WebUI does after every sampler; soft inpainting leaves it out."""
        if self.paint is None or self.soft:
            return latent
        return latent * self.paint + self.latent * (1 - self.paint)

    def mask(self, number: Callable[[Level], float], wraps: Wraps) -> Mask | None:
        """The mask for one run; None where there is none. `number` is how the soft blend counts noise levels."""
        if self.paint is None:
            return None
        soft = self.soft
        usual = linear_blend(self.paint) if soft is None else \
            lambda original, current, level: soft(original, current, number(level))
        blend = wraps.blend(usual, self.paint)
        return Mask(self.latent, self.paint, blend, soft is not None, blend is not usual)

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


def sample(denoise: GuidedDenoiser, noise: ImageNoise, plan: Plan, report: Report,
           source: InitLatent | None = None, wraps: Wraps = NO_WRAPS) -> Tensor:
    """The sampled latent, (B, C, h, w): from pure noise, or from `source` noised to its strength.

    Raises whatever `report` raises.
    """
    if isinstance(denoise.model.levels, Flow) and not plan.sampler.flows:
        raise InvalidInput(f"{plan.sampler.name} is made for other checkpoints: {denoise.model.name} is a flow. Choose "
                           "Euler or DPM++ 2M.", field="sampler_name")
    walk = _walk_timesteps if plan.sampler.timesteps else _walk_sigmas
    latent = walk(denoise, noise, plan, report, source, wraps)
    return source.blend_end(latent) if source else latent


def steps_walked(plan: Plan, source: InitLatent | None) -> int:
    """How many steps a run of `plan` takes: with a picture to start from, only those below its noise level."""
    return source.steps(plan.steps)[1] + 1 if source else plan.steps


def total_calls(plan: Plan) -> int:
    """The number of network calls that prompt schedules count on: WebUI's `total_steps`."""
    return plan.steps * 2 if plan.sampler.second_order else plan.steps


def levels_in_force(levels: Levels, options: Options) -> Levels:
    """A model's `levels` as the options change them: `levels` itself if they do not."""
    if options.use_downcasted_alpha_bar:
        levels = levels.downcast()
    return levels.zero_terminal() if options.sd_noise_schedule == "Zero Terminal SNR" else levels


def whole_schedule(plan: Plan, trained: Levels) -> list[Level]:
    """The levels of a whole run of `plan` from noise alone, falling, on a model that was `trained` on these levels."""
    levels = levels_in_force(trained, plan.options)
    if plan.sampler.timesteps:
        if plan.options.ddim_loop != "classic":
            levels = levels.as_webui_walks()
        return [levels.at_t(t) for t in reversed(_grid(plan, plan.steps))]
    levels = plan.sampler.levels(levels)
    return [levels.at_sigma(float(sigma)) for sigma in build_sigmas(plan, levels, plan.steps)[:-1]]


def _grid(plan: Plan, steps: int) -> list[int]:
    """The ascending timesteps of a whole run."""
    return timesteps(steps + plan.options.always_discard_next_to_last_sigma)


def pace(plan: Plan, trained: Levels, source: InitLatent | None) -> Pace:
    """How far a run of `plan` has come at each call, on a model that was `trained` on these levels."""
    levels = levels_in_force(trained, plan.options)
    steps = steps_walked(plan, source)
    calls = steps * 2 if plan.sampler.second_order else steps
    return Pace(calls) if plan.sampler.timesteps else over_sigmas(plan.sampler.levels(levels), calls)


def _walk_timesteps(denoise: GuidedDenoiser, noise: ImageNoise, plan: Plan, report: Report,
                    source: InitLatent | None, wraps: Wraps) -> Tensor:
    """DDIM and its kin: Predictions over a grid of timesteps, x in the model's own scale."""
    options, wants = plan.options, plan.sampler.wants
    levels = levels_in_force(denoise.model.levels, options)
    if options.ddim_loop != "classic":
        levels = levels.as_webui_walks()
    classic = "before_step" in wants and options.ddim_loop == "classic"
    asked, below = source.steps(plan.steps) if source else (plan.steps, 0)
    grid = _grid(plan, asked)
    eta = options.eta_ddim if plan.eta is None else plan.eta
    x = initial = noise.first()  # (B, C, h, w)
    mask: Mask | None = None
    if source:
        initial = initial * source.noise_multiplier
        x = levels.at_t(grid[below]).noised(source.start + options.img2img_extra_noise * initial, initial)
        grid = grid[:below]
        mask = source.mask(levels.sigma_of if classic else lambda level: level.t, wraps)
    walked: list[Any] = grid if "grid" in wants else ddim.steps_down(grid, levels, classic=classic)
    fresh = options.mask_noise == "fresh"
    kept_noise = noise.next if fresh else lambda: initial
    answer: Any = _both(denoise, wraps) if "predict_both" in wants else wraps.answer(denoise)
    told = _told(denoise, levels)
    read: Any = _read_both(told) if "predict_both" in wants else _read(told)
    if isinstance(levels, MistakenFlow):
        answer = _as_asked(answer, levels)
    ask, before_step = masked_timesteps(answer, read, mask, kept_noise, classic=classic)
    window: WindowedDenoiser | None = None
    # Only then is the kept part known in advance, and the way from one noise level to a later one too.
    if classic and mask and not (mask.soft or mask.custom or fresh) and "eta" in wants and eta == 0 \
            and answer is denoise and levels is denoise.model.levels:
        window = windowed_denoiser(denoise, options.small_mask, mask, walked, before_step, initial)
    with closing(window) if window else nullcontext():
        return registry.run(plan.sampler, window or ask, x, walked, {
            "noise": noise.next, "eta": eta, "before_step": before_step, "model_levels": levels,
            "from_noise": source is None, "variant": options.uni_pc_variant, "order": options.uni_pc_order,
            "spacing": options.uni_pc_skip_type, "lower_order_final": options.uni_pc_lower_order_final,
            "on_step": lambda i, guess: report(i + 1, len(walked), guess)})


def _as_asked(answer: Callable[[Tensor, Level], Any], levels: MistakenFlow) -> Callable[[Tensor, Level], Any]:
    """`answer`, told each level as `levels` say."""
    return lambda x, level: answer(x, levels.asked(level))


def _told(denoise: GuidedDenoiser, levels: Levels) -> Told:
    """What a raw answer means. The model is looked up each time, since a refiner may have taken over."""
    return lambda x, out, level: levels.meaning(denoise.model.prediction).both(x, out, level)


def _read(told: Told) -> Callable[[Answer], Predictor]:
    """Makes raw answers Predictions."""
    def reading(answer: Answer) -> Predictor:
        return lambda x, level: told(x, answer(x, level), level)
    return reading


Pair = tuple[Tensor, Tensor]


def _read_both(told: Told) -> Callable[[Callable[[Tensor, Level], Pair]], PredictorOfBoth]:
    """`_read` for answers in pairs."""
    def reading(answers: Callable[[Tensor, Level], Pair]) -> PredictorOfBoth:
        def predict(x: Tensor, level: Level) -> tuple[Prediction, Prediction]:
            guided, uncond = answers(x, level)
            return told(x, guided, level), told(x, uncond, level)
        return predict
    return reading


def _both(denoise: GuidedDenoiser, wraps: Wraps) -> Callable[[Tensor, Level], Pair]:
    """`denoise.both` with the guided answer wrapped."""
    uncond: list[Tensor] = []

    def guided(x: Tensor, level: Level) -> Tensor:
        answer, plain = denoise.both(x, level)
        uncond[:] = [plain]
        return answer

    wrapped = wraps.answer(guided)
    return lambda x, level: (wrapped(x, level), uncond[0])


def _walk_sigmas(denoise: GuidedDenoiser, noise: ImageNoise, plan: Plan, report: Report,
                 source: InitLatent | None, wraps: Wraps) -> Tensor:
    """k-diffusion samplers: x0 over sigmas, x in the space of `Levels.scaled`."""
    levels = plan.sampler.levels(levels_in_force(denoise.model.levels, plan.options))
    asked, below = source.steps(plan.steps) if source else (plan.steps, 0)
    sigmas = build_sigmas(plan, levels, asked)  # (asked + 1,)
    x = noise.first()  # (B, C, h, w)
    mask: Mask | None = None
    if source:
        block = x * source.noise_multiplier
        walked = _falling(sigmas[asked - below - 1 :])
        start = levels.at_sigma(float(walked[0]))
        x = levels.noised(source.start, block, start) + block * plan.options.img2img_extra_noise
        mask = source.mask(levels.sigma_of, wraps)
    else:
        walked = _falling(sigmas)
        x = x * ((1 + walked[0] ** 2) ** 0.5 if plan.options.sgm_noise_multiplier else walked[0])
    x0 = masked_sigmas(plan.sampler.denoiser(wraps.answer(denoise), denoise, levels), mask, levels)
    return registry.run(plan.sampler, x0, x, walked, {
        "noise": noise.next, "on_step": lambda i, guess: report(i + 1, len(walked) - 1, guess), "model_levels": levels,
        "ends": (float(walked[0]), float(walked[-2])) if source else (levels.sigma_max, levels.sigma_min),
        **_stochastic(plan, noise, x, sigmas)})


def build_sigmas(plan: Plan, levels: Levels, steps: int) -> Tensor:
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
        "eta": options.eta_ancestral if plan.eta is None else plan.eta, "gamma": options.tcd_gamma,
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
