"""Samplers against the exact answer. For Gaussian data the probability flow has a closed form (`analytic.flow`).

Two things are shown of every sampler in the registry: run as the engine runs it, its results have the mean and the
spread of the data; and where it solves an equation, its error falls with the number of steps at the order that the
method claims.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from sampling.analytic import MEAN, STD, Watched, denoise, flow, nothing, run, scaled_flow
from torch import Tensor

from modules.sampling import registry
from modules.sampling.levels import Level, Prediction, VariancePreserving
from modules.sampling.schedules import timesteps
from modules.sampling.solvers import ddim, dpm, dpmpp, euler, lms, plms, restart, unipc
from modules.sampling.solvers.lcm import LcmLevels

X = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
HIGH, LOW = 8.0, 0.05


def grid(steps: int) -> Tensor:
    """Equal steps in log(sigma) from HIGH to LOW, no zero."""
    return torch.linspace(math.log(HIGH), math.log(LOW), steps + 1, dtype=torch.float64).exp()


def no_noise() -> Tensor:
    return torch.zeros_like(X)


def no_path(sigma: float, sigma_next: float) -> Tensor:
    return torch.zeros_like(X)


def error_in_sigma(function: Any, steps: int) -> float:
    """Largest error of one run without noise. DPM fast makes one call fewer than there are levels."""
    sigmas = torch.cat([grid(steps), torch.zeros(1)]) if function is dpm.sample_dpm_fast else grid(steps)
    wanted = flow(HIGH * X, HIGH, LOW)
    arguments = {"noise": no_noise, "brownian": no_path, "on_step": nothing, "eta": 0.0,
                 "ends": (HIGH, LOW)}
    sampler = registry.Sampler("under test", function)
    return float((registry.run(sampler, denoise, HIGH * X, sigmas, arguments) - wanted).abs().max())


ORDERS = [  # function, the order it claims, steps
    (euler.sample_euler, 1, 40),
    (euler.sample_euler_ancestral, 1, 40),
    (euler.sample_heun, 2, 40),
    (dpm.sample_dpm2, 2, 40),
    (dpm.sample_dpm2_ancestral, 2, 40),
    (dpm.sample_dpm_fast, 3, 41),
    (lms.sample_lms, 2, 40),  # order 4 once it has four slopes; its single first Euler step bounds it
    (dpmpp.sample_dpmpp_2m, 2, 40),
    (dpmpp.sample_dpmpp_2s_ancestral, 2, 40),
    (dpmpp.sample_dpmpp_sde, 2, 40),
    (dpmpp.sample_dpmpp_2m_sde, 2, 40),
    (dpmpp.sample_dpmpp_2m_sde_heun, 2, 40),
    (dpmpp.sample_dpmpp_3m_sde, 2, 40),  # order 3 once it has three answers; likewise
]


@pytest.mark.parametrize(("function", "order", "steps"), ORDERS, ids=lambda v: getattr(v, "__name__", None))
def test_the_error_falls_at_the_methods_order(function: Any, order: int, steps: int) -> None:
    """Twice as many steps divide the error by 2^order; half an order is let pass for grids this coarse."""
    coarse, fine = error_in_sigma(function, steps), error_in_sigma(function, 2 * steps)
    assert fine < coarse
    assert math.log2(coarse / fine) > order - 0.35
    assert fine < {1: 0.1, 2: 0.01, 3: 1e-4}[order]


def error_in_time(name: str, steps: int) -> float:
    """The same for samplers over timesteps, in float64, without noise."""
    levels = VariancePreserving(Watched().levels.alphas_cumprod.double())
    alphas = levels.alphas_cumprod
    t = timesteps(steps)
    walk = ddim.steps_down(t, levels, classic=False)
    start, end = float(alphas[t[-1]]), float(alphas[t[0]])

    def predict(x: Tensor, level: Level) -> Prediction:
        """log(alpha_bar) linear between trained levels, as UniPC has it; the others ask at trained levels only."""
        a = float(np.exp(np.interp(level.t, np.arange(1000), alphas.log().numpy())))
        x0 = (a**0.5 * STD**2 * x + (1 - a) * MEAN) / (a * STD**2 + 1 - a)
        return Prediction(x0, (x - a**0.5 * x0) / (1 - a) ** 0.5)

    if name == "UniPC":
        start, end = float(alphas[999]), float(alphas[0])
        x = unipc.sample_unipc(predict, X, t, model_levels=levels, from_noise=True, on_step=nothing, spacing="logSNR")
    elif name == "PLMS":
        x = plms.sample_plms(predict, X, walk, on_step=nothing)
    elif name == "DDIM CFG++":
        x = ddim.sample_ddim_cfgpp(lambda x, level: (predict(x, level),) * 2, X, walk, noise=no_noise, on_step=nothing)
    else:
        x = ddim.sample_ddim(predict, X, walk, noise=no_noise, on_step=nothing)
    return float((x - scaled_flow(X, start, end)).abs().max())


@pytest.mark.parametrize(("name", "order"), [("DDIM", 1), ("DDIM CFG++", 1), ("PLMS", 1.5), ("UniPC", 2)])
def test_the_error_over_timesteps_falls_at_the_methods_order(name: str, order: float) -> None:
    coarse, fine = error_in_time(name, 25), error_in_time(name, 100)
    assert math.log2(coarse / fine) / 2 > order - 0.35
    assert fine < {1: 0.05, 1.5: 4e-3, 2: 2e-3}[order]


def test_dpm_adaptive_keeps_its_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tighter tolerance comes closer, with more steps; the usual one, a relative 0.05, holds."""
    sigmas, wanted = torch.tensor([HIGH, LOW, 0.0], dtype=torch.float64), flow(HIGH * X, HIGH, LOW)
    errors, steps = [], []
    for tolerance in (0.05, 0.005, 0.0005):
        seen: list[int] = []
        monkeypatch.setattr(dpm, "RTOL", tolerance)
        monkeypatch.setattr(dpm, "ATOL", tolerance / 6.4)
        x = dpm.sample_dpm_adaptive(denoise, HIGH * X, sigmas, noise=no_noise, eta=0.0, ends=(HIGH, LOW),
                                    on_step=lambda i, x0, seen=seen: seen.append(i))
        errors.append(float((x - wanted).abs().max()))
        steps.append(len(seen))
    assert errors[0] < 0.1
    assert errors[2] < errors[1] < errors[0]
    assert steps[0] < steps[1] < steps[2]


def test_restart_below_twenty_steps_is_heun() -> None:
    sigmas = torch.cat([grid(15), torch.zeros(1, dtype=torch.float64)])
    ours = restart.sample_restart(denoise, HIGH * X, sigmas, noise=no_noise, on_step=nothing)
    heun = euler.sample_heun(denoise, HIGH * X, sigmas, noise=no_noise, on_step=nothing)
    torch.testing.assert_close(ours, heun, rtol=0, atol=0)


@pytest.mark.parametrize(("steps", "again"), [(20, 1), (35, 1), (36, 2), (50, 2)])
def test_restart_goes_back_up_and_spends_no_more_steps(steps: int, again: int) -> None:
    """From about 0.1 up to about 2, once below 36 steps and twice from there."""
    sigmas = torch.cat([grid(steps - 1), torch.zeros(1, dtype=torch.float64)])
    walk = restart.with_restarts(sigmas)
    jumps = [(last, first) for (_, last), (first, _) in pairwise(walk) if first > last]
    assert len(jumps) == again
    assert all(0.05 < low < 0.2 and 1.0 < high < 3.0 for low, high in jumps)
    assert len(walk) == steps


# ---------------------------------------------------------------- as the engine runs them


def expected_of_lcm(steps: int) -> tuple[float, float]:
    """(mean, std) of LCM's result by recursion over its levels.

    One step is affine for Gaussian data: x0 = out * E[x0 | x] + skip * x, then x = x0 + sigma * fresh noise.
    """
    levels = LcmLevels(Watched().levels)
    sigmas = [*levels.t_to_sigma(torch.linspace(999, 0, steps)).tolist(), 0.0]
    model_sigmas = torch.sqrt(1 / Watched().levels.alphas_cumprod - 1)
    mean, variance = 0.0, sigmas[0] ** 2
    for sigma, sigma_next in pairwise(sigmas):
        t = int(levels.sigma_to_t(torch.tensor([sigma]))[0])
        told = float(model_sigmas[t]) ** 2  # the noise level that the network is told
        seen = (1 + told) / (1 + sigma**2)  # the scale of its input is the true level's
        skip = 0.25 / ((10 * t) ** 2 + 0.25)
        out = 10 * t / math.sqrt((10 * t) ** 2 + 0.25)
        # eps in the scaled space of level t, put back with the true sigma
        eps_gain = seen**0.5 * told**0.5 / (STD**2 + told)
        eps_shift = -(told**0.5) / (STD**2 + told) * MEAN
        slope = out * (1 - sigma * eps_gain) + skip
        mean = slope * mean - out * sigma * eps_shift
        variance = slope**2 * variance + sigma_next**2
    return mean, variance**0.5


@pytest.mark.parametrize("sampler", registry.SAMPLERS, ids=lambda sampler: sampler.name)
def test_results_have_the_datas_mean_and_spread(sampler: registry.Sampler) -> None:
    """16384 values of N(0.2, 0.5^2): their mean within 0.02, their spread within 5 %.

    Four standard errors are 0.016 and 2.2 %; the rest is for 40 steps, or 250 where the method is of first order.
    Consistency sampling has an answer of its own; TCD is such a sampler unless its gamma is 0.
    """
    steps = 250 if sampler.name in ("Euler", "Euler a", "DDIM", "DDIM CFG++", "DDPM", "TCD") else 40
    mean, std = expected_of_lcm(steps) if sampler.name == "LCM" else (MEAN, STD)
    latent = run(sampler.name, steps, seeds=(1, 2, 3, 4), size=32, tcd_gamma=0.0)
    assert float(latent.mean()) == pytest.approx(mean, abs=0.02)
    assert float(latent.std()) == pytest.approx(std, rel=0.05)


RANDOM = [sampler for sampler in registry.SAMPLERS
          if sampler.wants & {"brownian", "eta"} and sampler.name not in ("DDIM", "DDIM CFG++")]


@pytest.mark.parametrize("sampler", RANDOM, ids=lambda sampler: sampler.name)
def test_random_samplers_forget_their_first_noise_and_eta_0_makes_them_remember(sampler: registry.Sampler) -> None:
    """The flow maps noise to result monotonously, so without noise on the way they correlate perfectly."""
    first = torch.stack([torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)])

    def correlation(eta: float) -> float:
        latent = run(sampler.name, 20, seeds=(1, 2), size=16, eta=eta)
        return float(torch.corrcoef(torch.stack([first.flatten(), latent.flatten()]))[0, 1])

    assert correlation(0.0) > 0.999
    assert correlation(1.0) < 0.6


@pytest.mark.parametrize("sampler", registry.SAMPLERS, ids=lambda sampler: sampler.name)
def test_a_batch_is_its_single_pictures(sampler: registry.Sampler) -> None:
    """Four at once or one by one; DPM adaptive chooses its steps by the whole batch's error and is let off."""
    batch = run(sampler.name, 20, seeds=(3, 4, 5, 6), eta=0.8)
    singles = torch.cat([run(sampler.name, 20, seeds=(seed,), eta=0.8) for seed in (3, 4, 5, 6)])
    torch.testing.assert_close(batch, singles, rtol=0, atol=0.2 if sampler.name == "DPM adaptive" else 1e-5)


@pytest.mark.parametrize("sampler", registry.SAMPLERS, ids=lambda sampler: sampler.name)
def test_progress_counts_every_step_once(sampler: registry.Sampler) -> None:
    """step 1, 2, 3 ... of the same number; only an adaptive sampler cannot know how many there will be."""
    seen: list[tuple[int, int]] = []
    run(sampler.name, 20, report=lambda step, steps, x0: seen.append((step, steps)))
    assert [step for step, _ in seen] == list(range(1, len(seen) + 1))
    if sampler.name not in ("DPM adaptive", "DPM fast"):
        assert {steps for _, steps in seen} == {len(seen)}
