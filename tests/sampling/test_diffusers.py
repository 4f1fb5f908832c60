"""Samplers against diffusers' schedulers, stepping the same model over the same levels."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from sampling.analytic import Watched, denoise, nothing, unguided
from torch import Tensor

from modules.sampling.conditioning import Conditioning
from modules.sampling.guidance import GuidedDenoiser, SigmaDenoiser
from modules.sampling.levels import EPSILON, Level, Prediction
from modules.sampling.schedules import ScheduleRange, karras, sgm_uniform, simple, timesteps
from modules.sampling.solvers import ddim, dpm, dpmpp, euler, lcm, lms, plms, tcd

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:diffusers")

TRAINING: dict[str, Any] = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
                            "beta_schedule": "scaled_linear"}
X = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(3))
LEVELS = Watched().levels
ALPHAS = LEVELS.alphas_cumprod


def eps(x: Tensor, t: Tensor) -> Tensor:
    return Watched().predict(x, Level(float(t[0]), 0.5, 0.5), Conditioning(torch.zeros(len(x), 77, 8)))


def predict(x: Tensor, level: Level) -> Prediction:
    return EPSILON.both(x, eps(x, torch.full((len(x),), level.t)), level)


def stream(seed: int) -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(X.shape, generator=generator)


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("steps", [5, 20, 50])
def test_ddim(steps: int, eta: float) -> None:
    scheduler = diffusers.DDIMScheduler(**TRAINING, clip_sample=False, set_alpha_to_one=False, steps_offset=1,
                                        timestep_spacing="leading")
    scheduler.set_timesteps(steps)
    assert scheduler.timesteps.tolist() == timesteps(steps)[::-1]
    x, draw = X, stream(1)
    for t in scheduler.timesteps:
        noise = draw() if eta else None
        x = scheduler.step(eps(x, t.expand(2)), int(t), x, eta=eta, variance_noise=noise).prev_sample
    ours = ddim.sample_ddim(predict, X, ddim.steps_down(timesteps(steps), LEVELS, classic=True), noise=stream(1),
                            on_step=nothing, eta=eta)
    torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-4)


def test_ddpm_is_diffusers_ddim_with_eta_1() -> None:
    walk = ddim.steps_down(timesteps(20), LEVELS, classic=True)
    ddpm = ddim.sample_ddpm(predict, X, walk, noise=stream(1), on_step=nothing)
    scheduler = diffusers.DDPMScheduler(**TRAINING, clip_sample=False, variance_type="fixed_small", steps_offset=1,
                                        timestep_spacing="leading")
    scheduler.set_timesteps(20)
    x, generator = X, torch.Generator().manual_seed(1)
    for t in scheduler.timesteps[:-1]:
        x = scheduler.step(eps(x, t.expand(2)), int(t), x, generator=generator).prev_sample
    at_the_last_step = ddim.sample_ddpm(predict, X, walk[:-1], noise=stream(1), on_step=nothing)
    torch.testing.assert_close(at_the_last_step, x, rtol=1e-3, atol=1e-3)
    assert not torch.equal(ddpm, at_the_last_step)


def walk_scheduler(scheduler: Any, sigmas: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """diffusers' loop with levels of our choice. The model is asked at the level that the scheduler believes in."""
    x = X * sigmas[0]
    for i, t in enumerate(scheduler.timesteps):
        index = scheduler.step_index if scheduler.step_index is not None else i
        sigma = scheduler.sigmas[index]
        scaled = scheduler.scale_model_input(x, t)
        answer = eps(scaled, LEVELS.sigma_to_t(sigma.float().expand(2)))
        extra = {"generator": generator} if generator else {}
        x = scheduler.step(answer, t, x, **extra).prev_sample
    return x


def schedule(steps: int) -> Tensor:
    return karras(steps, ScheduleRange(LEVELS, LEVELS.sigma_min, LEVELS.sigma_max))


def model(x: Tensor, sigma: float) -> Tensor:
    """The same network in sigma space, in closed form."""
    return denoise(x, sigma)


@pytest.mark.parametrize("steps", [5, 20])
def test_euler(steps: int) -> None:
    scheduler = diffusers.EulerDiscreteScheduler(**TRAINING, use_karras_sigmas=True)
    scheduler.set_timesteps(steps)
    torch.testing.assert_close(scheduler.sigmas, schedule(steps), rtol=1e-4, atol=1e-5)
    ours = euler.sample_euler(model, X * schedule(steps)[0], schedule(steps), noise=stream(1), on_step=nothing)
    torch.testing.assert_close(ours, walk_scheduler(scheduler, schedule(steps)), rtol=1e-3, atol=1e-3)


def test_euler_with_churn() -> None:
    """The same block is drawn for churn, and the level is raised as in Karras et al."""
    scheduler = diffusers.EulerDiscreteScheduler(**TRAINING, use_karras_sigmas=True)
    scheduler.set_timesteps(10)
    sigmas = schedule(10)
    x, draw = X * sigmas[0], stream(4)
    ours = euler.sample_euler(model, x, sigmas, noise=stream(4), on_step=nothing, s_churn=3.0, s_tmin=0.1, s_tmax=9.0)
    for sigma, below in pairwise(sigmas):
        gamma = 3.0 / 10 if 0.1 <= sigma <= 9.0 else 0.0
        raised = sigma * (1 + gamma)
        x = x + draw() * (raised**2 - sigma**2) ** 0.5
        x0 = denoise(x, raised)
        x = x + (x - x0) / raised * (below - raised)
    torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-4)


def test_euler_ancestral() -> None:
    scheduler = diffusers.EulerAncestralDiscreteScheduler(**TRAINING)
    scheduler.set_timesteps(12)
    sigmas = scheduler.sigmas
    ours = euler.sample_euler_ancestral(model, X * sigmas[0], sigmas, noise=stream(1), on_step=nothing)
    theirs = walk_scheduler(scheduler, sigmas, torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_heun() -> None:
    scheduler = diffusers.HeunDiscreteScheduler(**TRAINING, use_karras_sigmas=True)
    scheduler.set_timesteps(10)
    sigmas = schedule(10)
    ours = euler.sample_heun(model, X * sigmas[0], sigmas, noise=stream(1), on_step=nothing)
    torch.testing.assert_close(ours, walk_scheduler(scheduler, sigmas), rtol=1e-3, atol=1e-3)


def test_lms() -> None:
    scheduler = diffusers.LMSDiscreteScheduler(**TRAINING, use_karras_sigmas=True)
    scheduler.set_timesteps(12)
    sigmas = schedule(12)
    ours = lms.sample_lms(model, X * sigmas[0], sigmas, on_step=nothing)
    torch.testing.assert_close(ours, walk_scheduler(scheduler, sigmas), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("steps", [6, 20])
def test_dpmpp_2m(steps: int) -> None:
    """diffusers keeps x scaled to unit variance: x / sqrt(1 + sigma^2)."""
    scheduler = diffusers.DPMSolverMultistepScheduler(**TRAINING, use_karras_sigmas=True, solver_order=2,
                                                      euler_at_final=True, final_sigmas_type="zero")
    scheduler.set_timesteps(steps)
    sigmas = schedule(steps)
    torch.testing.assert_close(scheduler.sigmas, sigmas, rtol=1e-4, atol=1e-5)
    x = X * sigmas[0] / (1 + sigmas[0] ** 2) ** 0.5
    for i, t in enumerate(scheduler.timesteps):
        x = scheduler.step(eps(x, LEVELS.sigma_to_t(sigmas[i].expand(2))), t, x).prev_sample
    ours = dpmpp.sample_dpmpp_2m(model, X * sigmas[0], sigmas, on_step=nothing)
    torch.testing.assert_close(ours, x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("solver", "heun"), [("midpoint", False), ("heun", True)])
def test_dpmpp_2m_sde(solver: str, heun: bool) -> None:
    """diffusers keeps x scaled to unit variance. (Its third order's last term has another sign than k-diffusion's, and
    does not vanish with the step; DPM++ 3M SDE is in test_convergence.py.)"""
    scheduler = diffusers.DPMSolverMultistepScheduler(
        **TRAINING, use_karras_sigmas=True, final_sigmas_type="zero", algorithm_type="sde-dpmsolver++",
        solver_order=2, solver_type=solver, euler_at_final=True)
    scheduler.set_timesteps(12)
    sigmas, theirs_draw, ours_draw = schedule(12), stream(5), stream(5)
    x = X * sigmas[0] / (1 + sigmas[0] ** 2) ** 0.5
    for i, t in enumerate(scheduler.timesteps):
        answer = eps(x, LEVELS.sigma_to_t(sigmas[i].expand(2)))
        x = scheduler.step(answer, t, x, variance_noise=theirs_draw()).prev_sample
    ours = dpmpp.sample_dpmpp_2m_sde(model, X * sigmas[0], sigmas, brownian=lambda a, b: ours_draw(),
                                     on_step=nothing, heun=heun)
    torch.testing.assert_close(ours, x, rtol=1e-3, atol=1e-3)


def test_dpmpp_sde() -> None:
    scheduler = diffusers.DPMSolverSDEScheduler(**TRAINING, use_karras_sigmas=True)
    scheduler.set_timesteps(8)
    theirs_draw, ours_draw = stream(6), stream(6)
    scheduler.noise_sampler = lambda a, b: theirs_draw()
    sigmas = schedule(8)
    x = X * sigmas[0]
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, t)
        sigma = scheduler.sigmas[scheduler.step_index] if scheduler.state_in_first_order else scheduler.mid_point_sigma
        x = scheduler.step(eps(scaled, LEVELS.sigma_to_t(sigma.float().expand(2))), t, x).prev_sample
    ours = dpmpp.sample_dpmpp_sde(model, X * sigmas[0], sigmas, brownian=lambda a, b: ours_draw(), on_step=nothing)
    torch.testing.assert_close(ours, x, rtol=1e-3, atol=1e-3)


def test_dpm2_ancestral() -> None:
    scheduler = diffusers.KDPM2AncestralDiscreteScheduler(**TRAINING, use_karras_sigmas=True)
    scheduler.set_timesteps(8)
    sigmas = schedule(8)
    ours = dpm.sample_dpm2_ancestral(model, X * sigmas[0], sigmas, noise=stream(7), on_step=nothing)
    theirs = walk_scheduler(scheduler, sigmas, torch.Generator().manual_seed(7))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_plms() -> None:
    """diffusers takes one step more, to alphas_cumprod[0]."""
    scheduler = diffusers.PNDMScheduler(**TRAINING, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1)
    scheduler.set_timesteps(10)
    x = X
    for t in scheduler.timesteps[:-1]:
        x = scheduler.step(eps(x, t.expand(2)), t, x).prev_sample
    ours = plms.sample_plms(predict, X, ddim.steps_down(timesteps(10), LEVELS, classic=False), on_step=nothing)
    torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-4)


def test_lcm_answers() -> None:
    """x0 with the boundary's skip, at the timesteps that the model was distilled for."""
    scheduler = diffusers.LCMScheduler(**TRAINING, clip_sample=False, set_alpha_to_one=False)
    scheduler.set_timesteps(4)
    levels = lcm.LcmLevels(LEVELS)
    guided = GuidedDenoiser(Watched(), unguided(2))
    denoiser = lcm.LcmDenoiser(guided, guided, levels)
    for t in scheduler.timesteps:
        a = ALPHAS[t]
        theirs = scheduler.step(eps(X, t.expand(2)), t, X, generator=torch.Generator()).denoised
        ours = denoiser(X / a**0.5, float(((1 - a) / a).sqrt()))
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("steps", [2, 4, 8])
def test_tcd(steps: int, gamma: float) -> None:
    """diffusers ends at the lowest trained level instead of at the clean guess, so its last x is read as that guess."""
    scheduler = diffusers.TCDScheduler(**TRAINING, clip_sample=False)
    scheduler.set_timesteps(steps, original_inference_steps=1000)
    sigmas = simple(steps, ScheduleRange(LEVELS, LEVELS.sigma_min, LEVELS.sigma_max))
    times = scheduler.timesteps.tolist()
    torch.testing.assert_close(sigmas[:-1], LEVELS.sigmas[times], rtol=0, atol=0)
    x, generator = X, torch.Generator().manual_seed(7)
    for t in times[:-1]:
        x = scheduler.step(eps(x, torch.tensor([t] * 2)), t, x, eta=gamma, generator=generator).prev_sample
    last = ALPHAS[times[-1]]
    guess = (x - (1 - last) ** 0.5 * eps(x, torch.tensor([times[-1]] * 2))) / last**0.5
    guided = GuidedDenoiser(Watched(), unguided(2))
    ours = tcd.sample_tcd(SigmaDenoiser(guided, guided, LEVELS), X / ALPHAS[times[0]] ** 0.5, sigmas, noise=stream(7),
                          on_step=nothing, gamma=gamma, model_levels=LEVELS)
    torch.testing.assert_close(ours, guess, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("steps", [1, 4])
def test_lcm(steps: int) -> None:
    """The whole walk, at diffusers' own timesteps: those of the schedule Simple."""
    scheduler = diffusers.LCMScheduler(**TRAINING, clip_sample=False, set_alpha_to_one=False)
    scheduler.set_timesteps(steps)
    x, generator = X, torch.Generator().manual_seed(7)
    for t in scheduler.timesteps:
        out = scheduler.step(eps(x, t.expand(2)), t, x, generator=generator)
        x = out.prev_sample
    levels = lcm.LcmLevels(LEVELS)
    sigmas = simple(steps, ScheduleRange(levels, levels.sigma_min, levels.sigma_max))
    guided = GuidedDenoiser(Watched(), unguided(2))
    first = X / ALPHAS[scheduler.timesteps[0]] ** 0.5
    ours = lcm.sample_lcm(lcm.LcmDenoiser(guided, guided, levels), first, sigmas, noise=stream(7), on_step=nothing)
    torch.testing.assert_close(ours, x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_sgm_uniform_is_diffusers_trailing(steps: int) -> None:
    """Turbo, Lightning and Hyper are made for trailing timesteps; diffusers rounds them to whole ones."""
    scheduler = diffusers.EulerDiscreteScheduler(**TRAINING, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    sigmas = sgm_uniform(steps, ScheduleRange(LEVELS, LEVELS.sigma_min, LEVELS.sigma_max))
    torch.testing.assert_close(LEVELS.sigma_to_t(sigmas[:-1]), scheduler.timesteps, rtol=0, atol=1.0)


def test_dpm2_by_its_formula() -> None:
    """Midpoint in log(sigma): x' = x + (x - x0(x_m)) / sigma_m * (sigma' - sigma), x_m an Euler step to sigma_m."""
    sigmas = schedule(9)
    x = X.double() * sigmas[0]
    for sigma, below in pairwise(sigmas.double()):
        d = (x - denoise(x, sigma)) / sigma
        if below > 0:
            middle = np.sqrt(float(sigma * below))
            x_middle = x + d * (middle - sigma)
            d = (x_middle - denoise(x_middle, middle)) / middle
        x = x + d * (below - sigma)
    ours = dpm.sample_dpm2(model, X * sigmas[0], sigmas, noise=stream(1), on_step=nothing)
    torch.testing.assert_close(ours.double(), x, rtol=1e-4, atol=1e-4)


def test_ddim_cfgpp_by_its_formula() -> None:
    """x0 from the guided noise, the way back along the unconditional one (Chung et al. 2024, algorithm 2)."""
    walk = ddim.steps_down(timesteps(10), LEVELS, classic=False)

    def both(x: Tensor, level: Level) -> tuple[Prediction, Prediction]:
        plain = predict(x, level)
        return EPSILON.both(x, plain.eps + 0.3, level), plain

    x = X
    for step in walk:
        a, b = ALPHAS[int(step.level.t)], ALPHAS[int(step.below.t)]
        plain = eps(x, torch.tensor([float(step.level.t)] * 2))
        x = b**0.5 * (x - (1 - a) ** 0.5 * (plain + 0.3)) / a**0.5 + (1 - b) ** 0.5 * plain
    ours = ddim.sample_ddim_cfgpp(both, X, walk, noise=stream(1), on_step=nothing)
    torch.testing.assert_close(ours, x, rtol=1e-5, atol=1e-5)
