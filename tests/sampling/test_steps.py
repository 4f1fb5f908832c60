"""Which timesteps and levels each sampler visits, against WebUI's own counts.

txt2img in 1.10.1 leaves DDIM's lowest timestep out; the classic loop does not. img2img starts at T[t_enc] with
t_enc = int(min(strength, 0.999) * steps) and its first call is one level below (timesteps) or there (sigmas).
"""

from __future__ import annotations

import pytest
import torch
from sampling.analytic import Watched, always, context, run

from modules.errors import InvalidInput
from modules.request.options import Options
from modules.sampling import registry
from modules.sampling.guidance import Guidance
from modules.sampling.sample import InitLatent, Plan, build_sigmas, total_calls
from modules.sampling.schedules import SCHEDULES, timesteps


def visited(name: str, steps: int, strength: float | None = None, *, exact: bool = False,
            **options: object) -> list[float]:
    """The timestep of each call of the network."""
    model = Watched()
    source = None if strength is None else InitLatent(torch.zeros(1, 4, 4, 4), strength, exact_steps=exact)
    run(name, steps, model=model, size=4, source=source, **options)
    return [t for t, _ in model.calls]


TXT2IMG = [  # steps, WebUI 1.10.1's timesteps
    (1, []), (2, [501]), (3, [999, 667, 334]), (7, [995, 853, 711, 569, 427, 285, 143]),
    (8, [876, 751, 626, 501, 376, 251, 126]), (20, list(range(951, 50, -50))), (30, list(range(991, 33, -33))),
]


@pytest.mark.parametrize(("steps", "expected"), TXT2IMG)
def test_ddim_from_noise(steps: int, expected: list[int]) -> None:
    assert visited("DDIM", steps, ddim_loop="webui-1.10") == expected
    assert visited("DDIM", steps, ddim_loop="classic") == [*expected, 1]


IMG2IMG = [  # steps, strength, exact steps, classic's timesteps (1.10.1's lack the 1)
    (8, 0.05, False, []), (8, 0.2, False, [1]), (8, 0.5, False, [376, 251, 126, 1]),
    (8, 1.0, False, [751, 626, 501, 376, 251, 126, 1]), (8, 0.0, False, []),
    (8, 0.5, True, [373, 311, 249, 187, 125, 63, 1]), (4, 0.25, True, [125, 63, 1]),
]


@pytest.mark.parametrize(("steps", "strength", "exact", "expected"), IMG2IMG)
def test_ddim_from_a_picture(steps: int, strength: float, exact: bool, expected: list[int]) -> None:
    assert visited("DDIM", steps, strength, exact=exact, ddim_loop="classic") == expected
    assert visited("DDIM", steps, strength, exact=exact, ddim_loop="webui-1.10") == expected[:-1]


def test_ddim_starts_from_the_level_above_its_first_call() -> None:
    """8 steps at 0.5: the picture is noised to t = 501 and first denoised at 376."""
    model, picture = Watched(), torch.full((1, 4, 4, 4), 3.0)
    run("DDIM", 8, model=model, size=4, seeds=(5,), source=InitLatent(picture, 0.5))
    a = model.levels.alphas_cumprod[501]
    noise = torch.randn(4, 4, 4, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(model.seen[0][0], a**0.5 * 3.0 + (1 - a) ** 0.5 * noise, rtol=1e-5, atol=1e-5)


COUNTS = [  # sampler, steps, strength, calls
    ("Euler", 8, None, 8), ("Euler a", 20, None, 20), ("DPM++ 2M", 1, None, 1), ("Heun", 8, None, 15),
    ("DPM2", 8, None, 15), ("DPM++ SDE", 8, None, 15), ("DPM++ 2S a", 8, None, 15), ("LMS", 8, None, 8),
    ("DPM fast", 8, None, 8), ("PLMS", 8, None, 8), ("UniPC", 8, None, 8), ("LCM", 8, None, 8), ("TCD", 4, None, 4),
    ("DDIM CFG++", 8, None, 7), ("DPM++ 3M SDE", 8, None, 8), ("Restart", 8, None, 15),
    ("Euler", 8, 0.75, 7), ("Euler", 8, 1.0, 8), ("Euler", 8, 0.0, 1), ("Euler", 8, 0.05, 1), ("Heun", 8, 0.75, 13),
    ("DPM++ 2M", 20, 0.5, 11), ("PLMS", 8, 0.75, 6), ("UniPC", 8, 0.75, 6), ("LCM", 8, 0.75, 7),
]


@pytest.mark.parametrize(("name", "steps", "strength", "calls"), COUNTS)
def test_how_often_the_network_is_asked(name: str, steps: int, strength: float | None, calls: int) -> None:
    assert len(visited(name, steps, strength)) == calls


def test_exact_steps_of_sigma_samplers() -> None:
    """8 steps at 0.5 with the option: a schedule of 16, its last 8 steps."""
    times = visited("Euler", 8, 0.5, exact=True)
    expected = torch.linspace(999, 0, 16)[8:]
    torch.testing.assert_close(torch.tensor(times), expected, rtol=0, atol=2e-3)


def test_exact_steps_of_next_to_no_strength_are_refused() -> None:
    with pytest.raises(InvalidInput, match="too small for exactly 8 steps"):
        visited("Euler", 8, 1e-9, exact=True)


@pytest.mark.parametrize(("name", "schedule", "steps", "options"), [
    ("DPM++ 2M", "Karras", 8, {"sigma_min": 2, "sigma_max": 2}),
    ("Euler a", "Karras", 8, {"sigma_min": 2, "sigma_max": 1}),
    ("DPM++ 2S a", "Karras", 8, {"rho": 0.1}), ("LMS", "Beta", 20, {"beta_dist_alpha": 0.01}),
    ("DPM++ 2M", "Simple", 2000, {})])
def test_noise_that_does_not_fall_is_refused(name: str, schedule: str, steps: int, options: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match="does not fall"):
        visited(name, steps, schedule=schedule, **options)


@pytest.mark.parametrize("schedule", [schedule.label for schedule in SCHEDULES])
def test_the_noise_of_every_schedule_falls_from_the_top(schedule: str) -> None:
    """Also over the fifty levels of LCM."""
    for name in ("Euler", "LCM", "DPM++ 2M SDE", "DPM2"):
        for steps in (1, 2, 8, 20, 50, *([] if name == "LCM" else [150])):
            plan = Plan(registry.find_sampler(name)[0], schedule, steps)
            levels = plan.sampler.levels(Watched().levels)
            sigmas = build_sigmas(plan, levels, steps)
            assert (sigmas.diff() < 0).all(), (name, steps)
            if steps > 2:
                assert float(sigmas[0]) > 5, (name, steps)


def test_simple_and_ddim_take_lcms_levels_evenly() -> None:
    for schedule, places in (("Simple", [49, 43, 37, 31, 24, 18, 12, 6]), ("DDIM", [49, 43, 37, 31, 25, 19, 13, 7, 1])):
        plan = Plan(registry.find_sampler("LCM")[0], schedule, 8)
        levels = plan.sampler.levels(Watched().levels)
        assert build_sigmas(plan, levels, 8).tolist() == [*levels.sigmas[places].tolist(), 0.0]


def test_sigma_samplers_ask_at_fractional_timesteps() -> None:
    """Uniform in t from 999 to 0, as k-diffusion: 8 steps ask at 999, 856.29, ... 142.71, 0."""
    torch.testing.assert_close(torch.tensor(visited("Euler", 8)), torch.linspace(999, 0, 8), rtol=0, atol=2e-3)


def test_tcd_asks_at_trailing_timesteps() -> None:
    torch.testing.assert_close(torch.tensor(visited("TCD", 4)), torch.tensor([999.0, 749, 499, 249]), rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", [sampler.name for sampler in registry.SAMPLERS if sampler.name != "DDIM CFG++"])
def test_a_scale_of_1_asks_for_the_prompt_alone(name: str) -> None:
    """One row for each of two images at every call. DDIM CFG++ walks along the negative prompt's answer."""
    model = Watched()
    told, untold = always(context(1.0)), always(context(9.0))
    run(name, 4, model=model, seeds=(1, 2), guidance=Guidance((((told, 1.0),),) * 2, untold, 1.0))
    assert model.contexts
    assert all(len(rows) == 2 and float(rows[..., 0].max()) == 1 for rows in model.contexts)


def test_lcm_asks_at_distilled_timesteps_only() -> None:
    assert all(t % 20 == 19 for t in visited("LCM", 8))


def test_second_order_samplers_count_twice_in_prompt_schedules() -> None:
    twice = {s.name for s in registry.SAMPLERS if total_calls(Plan(s, "Automatic", 10)) == 20}
    assert twice == {"DPM++ SDE", "DPM++ 2S a", "Heun", "DPM2", "DPM2 a", "Restart"}


def test_automatic_schedules_are_webuis() -> None:
    chosen = {sampler.name: sampler.schedule for sampler in registry.SAMPLERS if not sampler.timesteps}
    karras = {"DPM++ 2M", "DPM++ SDE", "DPM++ 2S a", "DPM2", "DPM2 a", "Restart"}
    exponential = {"DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 3M SDE"}
    for name, schedule in chosen.items():
        own = "simple" if name == "TCD" else "uniform"  # WebUI has no TCD
        assert schedule == ("karras" if name in karras else "exponential" if name in exponential else own), name


@pytest.mark.parametrize("steps", [0, 1001])
def test_step_counts_that_no_grid_holds_are_refused(steps: int) -> None:
    with pytest.raises(InvalidInput):
        timesteps(steps)


@pytest.mark.parametrize("steps", [1, 3, 7, 9, 27, 36, 101, 251, 333, 334, 501, 999, 1000])
def test_timestep_grids_stay_within_the_model(steps: int) -> None:
    """Above 500 steps the last but one is 999 too: 1000 is clipped, as WebUI does since 1.6."""
    grid = timesteps(steps)
    assert len(grid) == len(range(0, 1000, 1000 // steps))
    assert sorted(set(grid)) == (grid if steps <= 500 else grid[:-1])
    assert 1 <= grid[0] <= grid[-1] <= 999


UNIFORM = [14.6146, 6.678, 3.52206, 2.06064, 1.27683, 0.79126, 0.439666, 0.0291675, 0.0]
KARRAS = [14.6146, 7.90294, 4.02774, 1.91036, 0.828872, 0.321122, 0.107199, 0.0291675, 0.0]
EXPONENTIAL = [14.6146, 6.01298, 2.47395, 1.01787, 0.418789, 0.172304, 0.0708921, 0.0291675, 0.0]
RECORDED = [  # sampler, schedule, steps, options, what WebUI 1.10.1 logged
    ("Euler", "Automatic", 8, {}, UNIFORM),
    ("Euler", "Uniform", 8, {}, UNIFORM),
    ("Euler", "Normal", 8, {}, UNIFORM),
    ("Euler", "Karras", 8, {}, KARRAS),
    ("DPM++ 2M", "Automatic", 8, {}, KARRAS),
    ("Euler", "Exponential", 8, {}, EXPONENTIAL),
    ("DPM++ 2M SDE", "Automatic", 8, {}, EXPONENTIAL),
    ("Euler", "Polyexponential", 8, {}, EXPONENTIAL),
    ("Euler", "SGM Uniform", 8, {}, [14.6146, 7.30198, 4.08608, 2.49597, 1.61558, 1.07116, 0.69515, 0.399701, 0.0]),
    ("Euler", "Simple", 8, {}, [14.6146, 7.29735, 4.08173, 2.49253, 1.61289, 1.06895, 0.693205, 0.397746, 0.0]),
    ("Euler", "Beta", 8, {}, [14.6146, 13.577, 11.4518, 8.7596, 5.88421, 3.19205, 1.06681, 0.0291675, 0.0]),
    ("DPM++ 2M", "DDIM", 8, {}, [7.37184, 4.1167, 2.51092, 1.62369, 1.07603, 0.698398, 0.402218, 0.0413145, 0.0]),
    ("Euler", "Align Your Steps", 8, {}, [14.615, 5.1881, 2.83884, 1.73066, 1.07078, 0.607827, 0.229864, 0.029, 0.0]),
    ("Euler", "Align Your Steps", 10, {}, [14.615, 6.11351, 3.56511, 2.39387, 1.64996, 1.13579, 0.742518, 0.445007,
                                           0.169205, 0.029, 0.0]),
    ("Euler", "Align Your Steps", 11, {}, [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152,
                                           0.029, 0.0]),
    ("DPM2", "Automatic", 8, {}, [14.6146, 8.56001, 4.79654, 2.55079, 1.2741, 0.589543, 0.247952, 0.0922609, 0.0]),
    ("DPM++ 2M", "Automatic", 8, {"always_discard_next_to_last_sigma": True},
     [14.6146, 8.56001, 4.79654, 2.55079, 1.2741, 0.589543, 0.247952, 0.0922609, 0.0]),
    ("DPM++ 2M", "Automatic", 8, {"use_old_karras_scheduler_sigmas": True},
     [10.0, 6.06862, 3.5441, 1.9791, 1.0482, 0.520989, 0.239604, 0.1, 0.0]),
    ("LCM", "Automatic", 8, {}, [14.6146, 6.76838, 3.60099, 2.12037, 1.32306, 0.82986, 0.476454, 0.134451, 0.0]),
]


def levels_of(name: str, schedule: str, steps: int, **options: object) -> torch.Tensor:
    sampler, _ = registry.find_sampler(name)
    plan = Plan(sampler, schedule, steps, None, Options().replaced(options))
    return build_sigmas(plan, sampler.levels(Watched().levels), steps)


@pytest.mark.parametrize(("name", "schedule", "steps", "options", "expected"), RECORDED)
def test_sigmas_are_those_that_webui_logged(name: str, schedule: str, steps: int, options: dict[str, object],
                                            expected: list[float]) -> None:
    torch.testing.assert_close(levels_of(name, schedule, steps, **options), torch.tensor(expected), rtol=3e-5, atol=0)


def test_karras_is_equation_5_of_the_paper() -> None:
    n, rho, low, high = 12, 5.0, 0.2, 9.0
    expected = [(high ** (1 / rho) + i / (n - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho for i in range(n)]
    ours = levels_of("Euler", "Karras", n, rho=rho, sigma_min=low, sigma_max=high)
    torch.testing.assert_close(ours, torch.tensor([*expected, 0.0]), rtol=1e-5, atol=0)


def test_kl_optimal_ends_above_zero() -> None:
    """tan of equal steps between the arctangents; n + 1 levels, the last one sigma_min (WebUI appends no zero)."""
    levels = Watched().levels
    ours = levels_of("Euler", "KL Optimal", 10)
    assert len(ours) == 11
    angles = torch.atan(ours.double())
    torch.testing.assert_close(angles.diff(), angles.diff().mean().expand(10), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(ours[[0, -1]], torch.tensor([levels.sigma_max, levels.sigma_min]), rtol=1e-4, atol=0)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.label)
@pytest.mark.parametrize("steps", [1, 2, 3, 8, 33])
def test_every_schedule_falls(schedule: object, steps: int) -> None:
    levels = levels_of("Euler", schedule.label, steps)  # type: ignore[attr-defined]
    assert torch.isfinite(levels).all()
    assert (levels.diff() < 0).all()
    assert levels[0] <= 14.616


def test_timesteps_and_sigmas_are_inverse() -> None:
    levels = Watched().levels
    t = torch.linspace(0, 999, 777)
    torch.testing.assert_close(levels.sigma_to_t(levels.t_to_sigma(t)), t, rtol=1e-4, atol=1e-2)
    a = Watched().levels.alphas_cumprod[500]
    assert float(levels.t_to_sigma(torch.tensor(500.0))) == pytest.approx(float(((1 - a) / a) ** 0.5), rel=1e-5)
