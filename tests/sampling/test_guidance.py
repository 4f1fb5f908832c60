"""Guidance: which rows the network gets, and how its answers are put together."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg
from fakes import FakeDeepCache, FakeModel
from sampling.analytic import Watched, always, context, unguided
from torch import Tensor

from modules.generation import conditioning
from modules.request.options import Options
from modules.sampling.conditioning import Conditioning, cut_or_repeat, join, pad_with, stack
from modules.sampling.guidance import (
    Guidance,
    GuidedDenoiser,
    Refiner,
    ScheduledConditioning,
    SigmaDenoiser,
    SkipUncond,
    rescaled,
)
from modules.sampling.levels import Level, stable_diffusion
from modules.sampling.pace import Pace, over_sigmas
from modules.sampling.solvers.lcm import LcmDenoiser, LcmLevels

T = 501
LEVEL = stable_diffusion().at_t(T)


@dataclass
class Echo(Watched):
    """Answers with the first value of each row's tokens, so that combinations can be read off."""

    vectors: list[Tensor] = field(default_factory=list)

    def predict(self, x: Tensor, level: Level, cond: Conditioning) -> Tensor:
        super().predict(x, level, cond)
        self.vectors.append(cond.vector)
        return cond.tokens[:, 0, 0].view(-1, 1, 1, 1).expand(len(x), 4, *x.shape[2:]).clone()


def guided(guidance: Guidance, images: int = 1, calls: int = 1) -> tuple[list[float], Echo]:
    """(the answer for each image in the last call, the model)."""
    model = Echo()
    denoise = GuidedDenoiser(model, guidance)
    x = torch.arange(images, dtype=torch.float32).view(-1, 1, 1, 1).expand(images, 4, 2, 2)
    for _ in range(calls):
        eps = denoise(x, LEVEL)
    assert denoise.calls == calls
    return eps[:, 0, 0, 0].tolist(), model


def test_scale_moves_away_from_the_negative_prompt() -> None:
    """eps = eps_u + scale * (eps_c - eps_u) = 1 + 7 * (3 - 1)."""
    answer, model = guided(Guidance(((((always(context(3.0)), 1.0),)),), always(context(1.0)), 7.0))
    assert answer == [15.0]
    assert model.calls == [(T, 2)]


def test_cond_and_uncond_go_together_image_by_image() -> None:
    """Rows are all conds, then all unconds; each row has its own image's x."""
    parts = tuple(((always(context(float(k))), 1.0),) for k in (2, 4, 6))
    answer, model = guided(Guidance(parts, always(context(1.0)), 2.0), images=3)
    assert answer == [3.0, 7.0, 11.0]
    assert model.calls == [(T, 6)]
    assert model.seen[0][:, 0, 0, 0].tolist() == [0, 1, 2, 0, 1, 2]
    assert model.contexts[0][:, 0, 0].tolist() == [2, 4, 6, 1, 1, 1]


def test_scale_1_needs_no_uncond() -> None:
    answer, model = guided(Guidance(((((always(context(3.0)), 1.0),)),), always(context(1.0)), 1.0))
    assert answer == [3.0]
    assert model.calls == [(T, 1)]


def test_scale_1_with_a_weighted_part_does_need_it() -> None:
    answer, _ = guided(Guidance(((((always(context(3.0)), 0.5),)),), always(context(1.0)), 1.0))
    assert answer == [2.0]


def test_and_adds_each_difference_with_its_weight() -> None:
    """u + scale * (w1 (c1 - u) + w2 (c2 - u)) = 1 + 2 * (0.5 * 2 - 1.5 * 3); the second image is not touched by it."""
    first = ((always(context(3.0)), 0.5), (always(context(4.0)), -1.5))
    second = ((always(context(2.0)), 1.0), (always(context(5.0)), 1.0))
    answer, model = guided(Guidance((first, second), always(context(1.0)), 2.0), images=2)
    assert answer == pytest.approx([1 + 2 * (0.5 * 2 - 1.5 * 3), 1 + 2 * (1 + 4)])
    assert model.calls == [(T, 6)]
    assert model.seen[0][:, 0, 0, 0].tolist() == [0, 0, 1, 1, 0, 1]


def test_unequal_lengths_are_asked_one_after_the_other() -> None:
    longer = always(context(3.0, tokens=154))
    answer, model = guided(Guidance((((longer, 1.0),),), always(context(1.0)), 7.0))
    assert answer == [15.0]
    assert [(c.shape[0], c.shape[1]) for c in model.contexts] == [(1, 154), (1, 77)]


def test_stack_repeats_the_last_vector_of_the_shorter() -> None:
    short = torch.tensor([[1.0], [2.0]])
    long = torch.tensor([[5.0], [6.0], [7.0], [8.0]])
    stacked = stack([Conditioning(short), Conditioning(long)])
    assert stacked.tokens.squeeze(-1).tolist() == [[1, 2, 2, 2], [5, 6, 7, 8]]
    assert stacked.vector is None


def test_pooled_vectors_go_along() -> None:
    """Stacked, joined and split into rows, each row keeps its own."""
    parts = [Conditioning(torch.zeros(77, 3), torch.full((5,), float(k))) for k in range(3)]
    both = join(stack(parts[:2]), stack(parts[2:]))
    assert both.vector is not None
    assert both.vector[:, 0].tolist() == [0, 1, 2]
    assert [float(row.vector[0]) for row in both.rows() if row.vector is not None] == [0, 1, 2]
    model = Echo(pooled=True)
    said = [Conditioning(torch.zeros(77, 8), torch.full((8,), float(k))) for k in (1, 2)]
    guidance = Guidance(((((always(said[0]), 1.0),)),), always(said[1]), 3.0)
    GuidedDenoiser(model, guidance)(torch.zeros(1, 4, 2, 2), LEVEL)
    assert model.vectors[-1][:, 0].tolist() == [1, 2]


def test_a_schedules_entry_holds_up_to_its_last_call() -> None:
    """`call <= last`: an entry that ends at 4 holds for calls 0 to 4, five of them."""
    scheduled = ScheduledConditioning(((4, context(1.0)), (8, context(2.0))))
    assert [float(scheduled.at(call).tokens[0, 0]) for call in range(10)] == [1] * 5 + [2] * 5


def test_the_schedule_goes_by_calls_for_prompt_and_negative() -> None:
    changing = ScheduledConditioning(((1, context(3.0)), (9, context(5.0))))
    assert guided(Guidance((((changing, 1.0),),), always(context(1.0)), 2.0), calls=2)[0] == [5.0]
    assert guided(Guidance((((changing, 1.0),),), always(context(1.0)), 2.0), calls=3)[0] == [9.0]
    assert guided(Guidance((((always(context(1.0)), 1.0),),), changing, 2.0), calls=3)[0] == [-3.0]


def test_extra_channels_go_with_every_row() -> None:
    model = Echo(in_channels=9)
    extra = torch.arange(10.0).view(2, 5, 1, 1).expand(2, 5, 2, 2)
    parts = ((always(context(1.0)), 1.0),)
    guidance = Guidance((parts, parts), always(context(0.0)), 3.0, extra)
    GuidedDenoiser(model, guidance)(torch.zeros(2, 4, 2, 2), Level(3.0, 0.8, 0.6))
    assert model.seen[0][:, 4:, 0, 0].tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]] * 2


def test_the_sigma_adapter_gives_the_mean_of_the_data_given_x() -> None:
    """E[x0 | x] for x = x0 + sigma * noise, x0 ~ N(m, s^2) is (s^2 x + sigma^2 m) / (s^2 + sigma^2)."""
    model = Watched()
    parts = ((always(context()), 1.0),)
    guided = GuidedDenoiser(model, Guidance((parts,), always(context()), 1.0))
    denoise = SigmaDenoiser(guided, guided, model.levels)
    x = torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(1)) * 3
    for sigma in (0.03, 0.5, 3.3, 14.6):
        expected = (model.std**2 * x + sigma**2 * model.mean) / (model.std**2 + sigma**2)
        torch.testing.assert_close(denoise(x, sigma), expected, rtol=1e-4, atol=1e-4)


def test_lcm_mixes_the_answer_with_x_by_its_boundary_condition() -> None:
    """c_skip = 0.25 / ((10 t)^2 + 0.25), c_out = 10 t / sqrt((10 t)^2 + 0.25), as diffusers' LCMScheduler."""
    from diffusers import LCMScheduler

    levels = LcmLevels(Watched().levels)
    denoise = LcmDenoiser(lambda x, level: torch.full_like(x, 0.25), GuidedDenoiser(Watched(), unguided(1)), levels)
    x, sigma = torch.full((1, 4, 1, 1), 2.0), float(levels.t_to_sigma(torch.tensor([499.0])))
    skip, out = LCMScheduler().get_scalings_for_boundary_condition_discrete(499)
    expected = out * (2.0 - sigma * 0.25) + skip * 2.0
    assert float(denoise(x, sigma)[0, 0, 0, 0]) == pytest.approx(float(expected), rel=1e-5)


# ---------------------------------------------------------------- from words


def encoded(prompt: str, negative: str = "", *, calls: int = 8, images: int = 1, **options: object) -> Guidance:
    return conditioning.encode(Watched(), prompt, negative, size=(64, 64), images=images, calls=calls, scale=7.0,
                               options=Options().replaced(options))


def said(text: str) -> Tensor:
    return Watched().encode_prompts([text])[0].tokens


def test_and_with_weights_from_words() -> None:
    (parts,) = encoded("a cat:0.6 AND a dog :1.4 AND a bird").prompts
    assert [weight for _, weight in parts] == [0.6, 1.4, 1.0]


def test_every_image_of_the_batch_is_told_the_same() -> None:
    guidance = encoded("a cat", images=3)
    assert len(guidance.prompts) == 3
    assert all(torch.equal(parts[0][0].at(0).tokens, said("a cat")) for parts in guidance.prompts)


def test_editing_switches_after_the_call_it_names() -> None:
    """[cat:dog:0.5] of 8 calls ends cat at 4: calls 0 to 4 say cat."""
    (((scheduled, _),),) = encoded("a [cat:dog:0.5]").prompts
    words = [torch.equal(scheduled.at(call).tokens, said("a cat")) for call in range(8)]
    assert words == [True] * 5 + [False] * 3
    assert torch.equal(scheduled.at(7).tokens, said("a dog"))


def test_alternation_by_call() -> None:
    """[red|blue]: the first entry ends at step 1, so red holds for calls 0 and 1, then they take turns."""
    (((scheduled, _),),) = encoded("[red|blue]").prompts
    words = ["red" if torch.equal(scheduled.at(call).tokens, said("red")) else "blue" for call in range(6)]
    assert words == ["red", "red", "blue", "red", "blue", "red"]


def test_the_negative_prompt_is_scheduled_but_not_split() -> None:
    guidance = encoded("a", "x AND [y:z:2]")
    assert torch.equal(guidance.negative.at(2).tokens, said("x AND y"))
    assert torch.equal(guidance.negative.at(3).tokens, said("x AND z"))


def test_rescaling_is_diffusers() -> None:
    generator = torch.Generator().manual_seed(0)
    cond, uncond = (torch.randn(3, 4, 8, 8, generator=generator) * size for size in (1.0, 0.6))
    guided = uncond + 9 * (cond - uncond)
    for share in (0.0, 0.3, 0.7, 1.0):
        torch.testing.assert_close(rescaled(guided, cond, share), rescale_noise_cfg(guided, cond, share))


def test_rescaled_guidance_has_the_prompts_contrast() -> None:
    """One prompt of weight 1: the answer has the direction of ordinary guidance and the deviation of its own eps."""
    model = NoisyEcho()
    x = torch.zeros(2, 4, 8, 8)
    parts = (((always(context(3.0)), 1.0),),) * 2
    plain = GuidedDenoiser(model, Guidance(parts, always(context(1.0)), 7.0))(x, LEVEL)
    level = GuidedDenoiser(model, Guidance(parts, always(context(1.0)), 7.0, rescale=1.0))(x, LEVEL)
    alone = GuidedDenoiser(model, Guidance(parts, always(context(1.0)), 1.0))(x, LEVEL)
    torch.testing.assert_close(level.std(dim=(1, 2, 3)), alone.std(dim=(1, 2, 3)))
    ratio = level / plain
    torch.testing.assert_close(ratio, ratio[:, :1, :1, :1].expand_as(ratio))


class NoisyEcho(Watched):
    """Answers with one fixed noise picture times the first value of each row's context."""

    def predict(self, x: Tensor, level: Level, cond: Conditioning) -> Tensor:
        noise = torch.randn(4, *x.shape[2:], generator=torch.Generator().manual_seed(1))
        return cond.tokens[:, 0, 0].view(-1, 1, 1, 1) * noise


def test_one_of_so_many_steps_is_computed_whole() -> None:
    """The cache is told which; another model that takes over begins with a whole step of its own."""
    models = FakeModel(), FakeModel()
    caches = [FakeDeepCache(model) for model in models]
    for model, cache in zip(models, caches, strict=True):
        model.deep_cache = lambda cache=cache: cache  # type: ignore[method-assign]
    guidance = Guidance(((((always(context()), 1.0),)),), always(context()), 7.0)
    denoise = GuidedDenoiser(models[0], guidance, Refiner(lambda: (models[1], guidance), 0.5, by_calls=True), 3,
                             Pace(10))
    x = torch.zeros(1, 4, 2, 2)
    for _ in range(10):
        denoise(x, LEVEL)
    assert caches[0].steps == [True, False, False, True, False]
    assert caches[1].steps == [True, True, False, False, True]
    assert [len(model.calls) for model in models] == [5, 5]


# ---------------------------------------------------------------- without the negative prompt


def skipping(skip: SkipUncond, levels: list[Level], *, calls: int = 8, weight: float = 1.0,
             pace: Pace | None = None) -> tuple[list[float], Echo, dict[str, object]]:
    """(the answer at each of `levels`, the model, the keys) for cond 3, uncond 1 and a scale of 7."""
    model, keys = Echo(), {}
    guidance = Guidance((((always(context(3.0)), weight),),), always(context(1.0)), 7.0)
    denoise = GuidedDenoiser(model, guidance, pace=pace or Pace(calls), skip=skip, keys=keys)
    answers = [float(denoise(torch.zeros(1, 4, 2, 2), level)[0, 0, 0, 0]) for level in levels]
    return answers, model, keys


def test_ngms_leaves_uncond_out_at_every_second_call_below_a_sigma() -> None:
    """Calls 1 and 3 are odd; at call 1 sigma is not below 5 yet. Then cond alone answers, at no scale."""
    levels = [stable_diffusion().at_sigma(sigma) for sigma in (14.0, 9.0, 3.0, 2.0)]
    pace = over_sigmas(stable_diffusion(), 4)
    answers, model, keys = skipping(SkipUncond(below=5.0), levels, pace=pace)
    assert answers == [15.0, 15.0, 15.0, 3.0]
    assert [rows for _, rows in model.calls] == [2, 2, 2, 1]
    assert keys == {"NGMS": 5.0}
    answers, _, keys = skipping(SkipUncond(below=5.0, all_calls=True), levels, pace=pace)
    assert answers == [15.0, 15.0, 3.0, 3.0]
    assert keys == {"NGMS": 5.0, "NGMS all steps": True}


def test_ngms_compares_with_the_timestep_where_the_sampler_counts_in_these() -> None:
    levels = [stable_diffusion().at_t(t) for t in (501, 400, 300, 8)]
    assert skipping(SkipUncond(below=9.0), levels)[0] == [15.0, 15.0, 15.0, 3.0]
    assert skipping(SkipUncond(below=8.0), levels)[2] == {}


def test_skipping_early_holds_for_a_share_of_the_calls() -> None:
    """call / calls <= 0.25 of 8 calls: 0, 1 and 2."""
    answers, _, keys = skipping(SkipUncond(early=0.25), [LEVEL] * 4)
    assert answers == [3.0, 3.0, 3.0, 15.0]
    assert keys == {"Skip Early CFG": 0.25}


def test_without_uncond_the_first_part_of_an_and_stands_in_for_it() -> None:
    """c1 + w1 (c1 - c1) + w2 (c2 - c1) = 3 + 1.5 * (4 - 3)."""
    model = Echo()
    parts = ((always(context(3.0)), 0.5), (always(context(4.0, tokens=154)), 1.5))
    denoise = GuidedDenoiser(model, Guidance((parts, parts), always(context(1.0)), 7.0), skip=SkipUncond(early=1.0))
    assert denoise(torch.zeros(2, 4, 2, 2), LEVEL)[:, 0, 0, 0].tolist() == [4.5, 4.5]
    assert model.calls == [(T, 4)]


# ---------------------------------------------------------------- when a refiner takes over


def takes_over(switch_at: float, levels: list[Level], pace: Pace, *, by_calls: bool = False) -> int:
    """The number of the call at which the refiner answers first."""
    models = Echo(), Echo()
    guidance = unguided(1)
    refiner = Refiner(lambda: (models[1], guidance), switch_at, by_calls)
    denoise = GuidedDenoiser(models[0], guidance, refiner, pace=pace)
    for level in levels:
        denoise(torch.zeros(1, 4, 2, 2), level)
    return len(models[0].calls)


def test_a_fractional_timestep_counts_cut_off() -> None:
    """UniPC in 8 steps asks at 999 - 124.875 k. 499.5 is 499, so that half of the levels lie above it."""
    levels = [Level(999 - 124.875 * k, 0.8, 0.6) for k in range(8)]
    assert takes_over(0.5, levels, Pace(8)) == 4
    assert takes_over(0.501, levels, Pace(8)) == 5


def test_over_sigmas_the_nearest_trained_sigma_counts() -> None:
    """Nearest in sigma, which is not nearest in log(sigma), by which the network's t goes."""
    sd = stable_diffusion()
    low, high = sd.sigmas[998:].tolist()
    sigma = (low + high) / 2 * (1 - 1e-6)  # above the middle in log(sigma)
    assert sigma > (low * high) ** 0.5
    level = Level(998.6, 1 / (1 + sigma**2) ** 0.5, sigma / (1 + sigma**2) ** 0.5)
    assert over_sigmas(sd, 8).descent(level) == pytest.approx(0.001)


def test_by_calls_a_share_of_the_run_counts() -> None:
    assert takes_over(0.6, [LEVEL] * 10, Pace(10), by_calls=True) == 6
    assert takes_over(0.6, [LEVEL] * 10, Pace(5), by_calls=True) == 3


# ---------------------------------------------------------------- prompts of different lengths


def test_a_shorter_negative_prompt_is_padded_call_by_call() -> None:
    """With `pad_cond_uncond` the empty prompt's chunk is added only while the lengths differ."""
    longer = ScheduledConditioning(((0, context(3.0)), (9, context(5.0, tokens=154))))
    model = Echo()
    empty = torch.full((77, 8), 9.0)
    denoise = GuidedDenoiser(model, Guidance((((longer, 1.0),),), always(context(1.0)), 7.0, pad=pad_with(empty)))
    padded = []
    for _ in range(2):
        denoise(torch.zeros(1, 4, 2, 2), LEVEL)
        padded.append(denoise.padded)
    assert padded == [False, True]
    assert [tuple(c.shape[:2]) for c in model.contexts] == [(2, 77), (2, 154)]
    assert torch.equal(model.contexts[1][1, 77:], empty)


def test_a_negative_prompt_of_another_length_is_cut_or_repeats_its_last_vector() -> None:
    tokens = torch.arange(1.0, 5.0).view(1, 4, 1)
    cond, short, long = Conditioning(tokens[:, :3]), Conditioning(tokens[:, :1]), Conditioning(tokens)
    assert cut_or_repeat(cond, short)[1].tokens.flatten().tolist() == [1, 1, 1]
    assert cut_or_repeat(cond, long)[1].tokens.flatten().tolist() == [1, 2, 3]


@dataclass
class EchoOfBoth(Echo):
    """The same plus 10 times the first channel that it reads beside x."""

    def predict(self, x: Tensor, level: Level, cond: Conditioning) -> Tensor:
        return super().predict(x, level, cond) + 10 * x[:, 4:5, :1, :1]


@pytest.mark.parametrize(("scale", "beside_scale", "expected", "rows"), [
    (7.0, None, [25.0, 35.0], 4),  # 10 b + 1 + 7 * (3 - 1), b being 1 and 2
    (7.0, 1.5, [30.0, 45.0], 6),  # 1 + 1.5 * 10 b + 7 * (3 - 1)
    (7.0, 0.0, [15.0, 15.0], 6),
    (1.0, 1.5, [18.0, 33.0], 6),
    (1.0, None, [13.0, 23.0], 2),
])
@pytest.mark.parametrize("longer", [False, True])
def test_a_picture_to_edit_has_a_scale_of_its_own(scale: float, beside_scale: float | None, expected: list[float],
                                                  rows: int, longer: bool) -> None:
    """Brooks et al. 2023, equation 3: e(0, 0) + s_I (e(I, 0) - e(0, 0)) + s_T (e(I, T) - e(I, 0))."""
    model = EchoOfBoth(in_channels=8)
    negative = Conditioning(torch.ones(154 if longer else 77, 8))
    beside = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1).expand(2, 4, 2, 2)
    guidance = Guidance(((((always(context(3.0)), 1.0),)),) * 2, always(negative), scale, beside,
                        beside_scale=beside_scale)
    answer = GuidedDenoiser(model, guidance)(torch.zeros(2, 4, 2, 2), LEVEL)
    assert answer[:, 0, 0, 0].tolist() == expected
    assert sum(asked for _, asked in model.calls) == rows
