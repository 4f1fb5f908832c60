"""Noise levels and predictions: one analytic model in four forms gives one picture."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
import torch
from fakes import FakeModel
from sampling.analytic import nothing, run
from torch import Tensor

from modules.sampling import registry
from modules.sampling.conditioning import Conditioning
from modules.sampling.levels import (
    EPSILON,
    FLOW,
    V_PREDICTION,
    Flow,
    Level,
    Levels,
    Prediction,
    PredictionType,
    stable_diffusion,
    zero_terminal,
)
from modules.sampling.mask import leave_alone, linear_blend, noised_original
from modules.sampling.registry import SAMPLERS, Sampler
from modules.sampling.schedules import timesteps
from modules.sampling.solvers import ddim

SD = stable_diffusion()
SHAPE = (1, 4, 6, 6)


def random(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def out_of(kind: PredictionType, x0: Tensor, eps: Tensor, level: Level) -> Tensor:
    """What a network that knows x0 and eps answers, by the definition of each kind."""
    return {EPSILON: eps, V_PREDICTION: level.signal * eps - level.noise * x0, FLOW: eps - x0}[kind]


@pytest.mark.parametrize("kind", [EPSILON, V_PREDICTION, FLOW], ids=lambda kind: kind.name)
@pytest.mark.parametrize("t", [0, 300, 998])
def test_an_answer_is_taken_apart_into_what_it_was_made_of(kind: PredictionType, t: int) -> None:
    levels: Levels = Flow.shifted(3.0) if kind is FLOW else SD
    level, x0, eps = levels.at_t(t), random(1), random(2)
    x = level.noised(x0, eps)
    at = kind.both(x, out_of(kind, x0, eps, level), level)
    torch.testing.assert_close(at.x0, x0, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(at.eps, eps, rtol=1e-6, atol=1e-6)


def test_v_is_exact_where_there_is_no_signal() -> None:
    """At zero terminal SNR x is noise alone; x0 out of eps would be 0 / 0."""
    level, x0, eps = Level(999, 0.0, 1.0), random(1), random(2)
    at = V_PREDICTION.both(level.noised(x0, eps), out_of(V_PREDICTION, x0, eps, level), level)
    assert torch.equal(at.x0, x0)
    assert torch.equal(at.eps, eps)
    assert level.sigma == math.inf


def test_zero_terminal_levels_are_the_papers() -> None:
    """Lin et al. 2023, algorithm 1, in numpy; only the last level is WebUI's 4.9e-8 instead of 0."""
    root = np.sqrt(SD.alphas_cumprod.double().numpy())
    wanted = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    ours = zero_terminal(SD).alphas_cumprod
    np.testing.assert_allclose(ours[:-1].numpy(), wanted[:-1], rtol=1e-5, atol=1e-9)  # it counts in float32, as WebUI
    assert float(ours[-1]) == pytest.approx(4.8973451890853435e-08)
    assert float(ours[0]) == pytest.approx(float(SD.alphas_cumprod[0]))


def test_a_shifted_flow_is_stable_diffusion_3s() -> None:
    """The first sigmas of WebUI's Automatic schedule for shift 3 in 8 steps, recorded."""
    levels = Flow.shifted(3.0)
    assert levels.sigma_max == 1.0
    t = torch.linspace(*levels.sigma_to_t(torch.tensor([1.0, levels.sigma_min])).tolist(), 8)
    recorded = [1, 0.94743, 0.88250, 0.80028, 0.69280, 0.54632, 0.33489, 0.002994]
    assert levels.t_to_sigma(t).tolist() == pytest.approx(recorded, rel=1e-4)
    assert levels.at_sigma(0.25) == Level(250.0, 0.75, 0.25)


class SameSigmas(Flow):
    """A flow whose levels hold as much noise beside the signal as Stable Diffusion's, so that only the scale of x
    differs."""

    def __init__(self) -> None:
        super().__init__(SD.sigmas / (1 + SD.sigmas))


@dataclass
class Kind(FakeModel):
    """A FakeModel of data N(0.2, 0.5^2) in one of the forms."""

    levels: Levels = field(default_factory=stable_diffusion)


def models() -> list[Kind]:
    return [Kind(), Kind(prediction=V_PREDICTION), Kind(prediction=FLOW, levels=SameSigmas())]


OVER_TIMESTEPS = [sampler for sampler in SAMPLERS if sampler.timesteps and sampler.name != "UniPC"]


def walk(sampler: Sampler, model: Kind, original: Tensor, paint: Tensor | None) -> Tensor:
    """`original` noised to the first level and walked down again; with `paint` its kept part is put back on the way.
    The result over the last level's signal, so that the scales of x compare."""
    steps = ddim.steps_down(timesteps(12)[:9], model.levels, classic=True)
    noise = random(7).float()

    def predict(x: Tensor, level: Level) -> Prediction:
        out = model.predict(x, level, Conditioning(torch.zeros(1, 77, 8)))
        return model.prediction.both(x, out, level)

    before = leave_alone if paint is None else noised_original(original, linear_blend(paint), lambda: noise)
    ask = (lambda x, level: (predict(x, level),) * 2) if "predict_both" in sampler.wants else predict
    latent = registry.run(sampler, ask, steps[0].level.noised(original, noise), steps, {
        "noise": lambda: random(8).float(), "on_step": nothing, "eta": 0.5, "before_step": before})
    return latent / steps[-1].below.signal


@pytest.mark.parametrize("sampler", OVER_TIMESTEPS, ids=lambda sampler: sampler.name)
def test_one_picture_for_eps_v_and_flow(sampler: Sampler) -> None:
    """Over timesteps every step works on x0 and eps, so the scale of x cancels: three forms, one picture."""
    pictures = [walk(sampler, model, random(5).float(), None) for model in models()]
    for picture in pictures[1:]:
        torch.testing.assert_close(picture, pictures[0], rtol=1e-3, atol=1e-3)


def test_the_mask_blend_is_one_line_for_eps_v_and_flow() -> None:
    """keep * level.noised(original, noise) + paint * x: the painted half comes out the same, the kept half is kept."""
    original, paint = random(5).float(), torch.zeros(1, 1, 6, 6)
    paint[..., :3] = 1
    sampler, _ = registry.find_sampler("DDIM")
    pictures = [walk(sampler, model, original, paint) for model in models()]
    for picture in pictures[1:]:
        torch.testing.assert_close(picture, pictures[0], rtol=1e-3, atol=1e-3)
    unmasked = walk(sampler, models()[0], original, None)
    torch.testing.assert_close(pictures[0][..., :3], unmasked[..., :3], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", [sampler.name for sampler in SAMPLERS if not sampler.timesteps or
                                  sampler.name == "UniPC"])
def test_one_picture_for_eps_and_v(name: str) -> None:
    if name in ("DPM adaptive", "LCM"):
        pytest.skip("one chooses its steps by the last bits of the answers, one asks at the nearest distilled level")
    pictures = [run(name, 12, model=model, size=6, eta=0.5) for model in models()[:2]]
    torch.testing.assert_close(pictures[1], pictures[0], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", [sampler.name for sampler in SAMPLERS if sampler.name not in ("LCM", "DPM adaptive")])
def test_zero_terminal_snr_gives_the_datas_mean_and_spread(name: str) -> None:
    """From pure noise, where an eps model has nothing to say of x0; nothing becomes NaN on the way."""
    model = Kind(prediction=V_PREDICTION, levels=zero_terminal(SD))
    latent = run(name, 250 if "DD" in name or "Euler" in name else 60, model=model, seeds=(1, 2), size=24)
    assert float(latent.mean()) == pytest.approx(0.2, abs=0.06)
    assert float(latent.std()) == pytest.approx(0.5, rel=0.12)


@pytest.mark.parametrize("name", ["Euler", "Heun", "DDIM", "PLMS", "DPM2", "UniPC"])
def test_a_flow_gives_the_datas_mean_and_spread(name: str) -> None:
    model = Kind(prediction=FLOW, levels=Flow.shifted(3.0))
    latent = run(name, 250 if name in ("Euler", "DDIM") else 60, model=model, seeds=(1, 2), size=24)
    assert float(latent.mean()) == pytest.approx(0.2, abs=0.06)
    assert float(latent.std()) == pytest.approx(0.5, rel=0.1)


def test_euler_over_a_flow_is_the_flows_own_euler() -> None:
    """dx/dsigma is the velocity: x += (sigma' - sigma) * v, as Stable Diffusion 3's reference code."""
    model = Kind(prediction=FLOW, levels=Flow.shifted(3.0))
    seen: list[tuple[int, int]] = []
    ours = run("Euler", 8, model=model, size=6, report=lambda step, steps, x0: seen.append((step, steps)))
    x = torch.randn(4, 6, 6, generator=torch.Generator().manual_seed(1))[None]
    t = torch.linspace(999, 0, 8)
    sigmas = [*model.levels.t_to_sigma(t).tolist(), 0.0]
    for sigma, below in pairwise(sigmas):
        x = x + (below - sigma) * model.predict(x, model.levels.at_sigma(sigma), Conditioning(torch.zeros(1, 77, 8)))
    torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-4)
    assert len(seen) == 8
