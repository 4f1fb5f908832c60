"""The mask blends, step by step and in numbers, with a model whose answers are known."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from sampling.analytic import Watched, run
from torch import Tensor

from modules.sampling.conditioning import Conditioning
from modules.sampling.levels import Level
from modules.sampling.mask import linear_blend
from modules.sampling.sample import InitLatent

STEPS, SEED, SIZE = 8, 7, 6
STRENGTH = 0.75  # six of the eight steps lie below the start
GRID = [1, 126, 251, 376, 501, 626, 751, 876]


@pytest.fixture
def original() -> Tensor:
    return torch.randn(1, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(100))


@pytest.fixture
def paint() -> Tensor:
    """Left half painted, one soft column."""
    paint = torch.zeros(1, 1, SIZE, SIZE)
    paint[..., :3] = 1
    paint[..., 3] = 0.25
    return paint


def blocks(count: int) -> list[Tensor]:
    """The first `count` blocks of the picture's own generator."""
    generator = torch.Generator().manual_seed(SEED)
    return [torch.randn(4, SIZE, SIZE, generator=generator)[None] for _ in range(count)]


def ddim_step(model: Watched, x: Tensor, t: int, below: int, blended: Tensor) -> Tensor:
    """DDIM without eta, equation 12: from t to `below`, the network shown `blended`."""
    a, b = model.levels.alphas_cumprod[t], model.levels.alphas_cumprod[below]
    eps = super(Watched, model).predict(blended, Level(t, 0.5, 0.5), Conditioning(torch.zeros(1, 77, 8)))
    return b**0.5 * (x - (1 - a) ** 0.5 * eps) / a**0.5 + (1 - b) ** 0.5 * eps


@pytest.mark.parametrize("mask_noise", ["initial", "fresh"])
def test_classic_overwrites_x_with_the_noised_original_at_every_step(original: Tensor, paint: Tensor,
                                                                     mask_noise: str) -> None:
    """x = keep * (sqrt(a) * original + sqrt(1 - a) * noise) + paint * x, before every call of the network."""
    model = Watched()
    result = run("DDIM", STEPS, model=model, seeds=(SEED,), size=SIZE, source=InitLatent(original, STRENGTH, paint),
                 ddim_loop="classic", mask_noise=mask_noise)
    keep, drawn = 1 - paint, blocks(7)
    start = model.levels.alphas_cumprod[GRID[6]]
    x = start**0.5 * original + (1 - start) ** 0.5 * drawn[0]
    walked = [626, 501, 376, 251, 126, 1]
    assert [t for t, _ in model.calls] == walked
    for call, (t, below) in enumerate(zip(walked, [*walked[1:], 0], strict=True)):
        a = model.levels.alphas_cumprod[t]
        noise = drawn[0] if mask_noise == "initial" else drawn[call + 1]
        x = keep * (a**0.5 * original + (1 - a) ** 0.5 * noise) + paint * x
        torch.testing.assert_close(model.seen[call], x, rtol=1e-5, atol=1e-5)
        x = ddim_step(model, x, t, below, x)
    torch.testing.assert_close(result, keep * original + paint * x, rtol=1e-5, atol=1e-5)


def test_1_10_shows_the_network_the_clean_original_and_goes_on_without_it(original: Tensor, paint: Tensor) -> None:
    model = Watched()
    result = run("DDIM", STEPS, model=model, seeds=(SEED,), size=SIZE, source=InitLatent(original, STRENGTH, paint),
                 ddim_loop="webui-1.10")
    start = model.levels.alphas_cumprod[GRID[6]]
    x = start**0.5 * original + (1 - start) ** 0.5 * blocks(1)[0]
    walked = [626, 501, 376, 251, 126]
    assert [t for t, _ in model.calls] == walked
    for call, (t, below) in enumerate(zip(walked, [*walked[1:], 1], strict=True)):
        seen = (1 - paint) * original + paint * x
        torch.testing.assert_close(model.seen[call], seen, rtol=1e-5, atol=1e-5)
        x = ddim_step(model, x, t, below, seen)
    torch.testing.assert_close(result, (1 - paint) * original + paint * x, rtol=1e-5, atol=1e-5)


def test_sigma_samplers_blend_the_clean_original_into_the_answer(original: Tensor, paint: Tensor) -> None:
    """Euler by hand: x0 = keep * original + paint * x0, then x += (x - x0) / sigma * (sigma_next - sigma)."""
    model = Watched()
    result = run("Euler", STEPS, model=model, seeds=(SEED,), size=SIZE, source=InitLatent(original, STRENGTH, paint))
    sigmas = torch.tensor([14.6146, 6.678, 3.52206, 2.06064, 1.27683, 0.79126, 0.439666, 0.0291675, 0.0])[1:]
    x = original + blocks(1)[0] * sigmas[0]
    for call, (sigma, below) in enumerate(pairwise(sigmas)):
        torch.testing.assert_close(model.seen[call], x / (sigma**2 + 1) ** 0.5, rtol=1e-4, atol=1e-4)
        x0 = (model.std**2 * x + sigma**2 * model.mean) / (model.std**2 + sigma**2)
        x0 = (1 - paint) * original + paint * x0
        x = x + (x - x0) / sigma * (below - sigma)
    torch.testing.assert_close(result, (1 - paint) * original + paint * x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["Heun", "DPM2", "DPM++ 2M", "DPM++ 2S a", "LCM", "TCD", "Restart"])
def test_every_answer_of_a_sigma_sampler_is_blended(name: str, original: Tensor) -> None:
    """With nothing painted each guess is the original itself, second calls within a step included: x stays on the
    line original + sigma * noise, so the network is never shown anything else than noise after the scale is undone."""
    guesses: list[Tensor] = []
    nothing_painted = torch.zeros(1, 1, SIZE, SIZE)
    result = run(name, STEPS, seeds=(SEED,), size=SIZE, source=InitLatent(original, STRENGTH, nothing_painted),
                 report=lambda step, steps, x0: guesses.append(x0))
    assert guesses
    for guess in [*guesses, result]:
        torch.testing.assert_close(guess, original, rtol=0, atol=1e-6)


def test_classic_with_a_soft_mask_blends_the_clean_original_into_the_answer(original: Tensor, paint: Tensor) -> None:
    model = Watched()
    result = run("DDIM", STEPS, model=model, seeds=(SEED,), size=SIZE,
                 source=InitLatent(original, STRENGTH, paint, soft=lambda original, current, level:
                                   (1 - paint) * original + paint * current))
    alphas = model.levels.alphas_cumprod
    start = alphas[GRID[6]]
    x = start**0.5 * original + (1 - start) ** 0.5 * blocks(1)[0]
    walked = [626, 501, 376, 251, 126, 1]
    assert [t for t, _ in model.calls] == walked
    for call, (t, below) in enumerate(pairwise([*walked, 0])):
        torch.testing.assert_close(model.seen[call], x, rtol=1e-4, atol=1e-4)
        sigma = (1 / alphas[t] - 1) ** 0.5
        scaled = x / alphas[t] ** 0.5
        x0 = (model.std**2 * scaled + sigma**2 * model.mean) / (model.std**2 + sigma**2)
        x0 = (1 - paint) * original + paint * x0
        scaled = scaled + (scaled - x0) / sigma * ((1 / alphas[below] - 1) ** 0.5 - sigma)
        x = alphas[below] ** 0.5 * scaled
    torch.testing.assert_close(result, x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["PLMS", "UniPC", "DDIM CFG++"])
def test_other_timestep_samplers_see_the_clean_original(name: str, original: Tensor, paint: Tensor) -> None:
    model = Watched()
    run(name, STEPS, model=model, seeds=(SEED,), size=SIZE, source=InitLatent(original, STRENGTH, paint))
    for seen in model.seen:
        torch.testing.assert_close(seen[:1, :, :, 4:], original[:, :, :, 4:])


def test_nothing_writes_into_its_argument(original: Tensor, paint: Tensor) -> None:
    kept, mask = original.clone(), paint.clone()
    for loop in ("classic", "webui-1.10"):
        run("DDIM", STEPS, seeds=(SEED,), size=SIZE, source=InitLatent(original, 1.0, paint), ddim_loop=loop)
    run("Euler a", STEPS, seeds=(SEED,), size=SIZE, source=InitLatent(original, 1.0, paint))
    assert torch.equal(original, kept)
    assert torch.equal(paint, mask)


def test_linear_blend_takes_paint_from_the_current() -> None:
    blend = linear_blend(torch.tensor(0.25))
    assert float(blend(torch.tensor(8.0), torch.tensor(4.0), Level(1, 0.5, 0.5))) == 7.0
