"""When a sampler asks the network: its noise levels, found by a walk over one cell without a network."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor

from modules.sampling.guidance import Guidance, GuidedDenoiser, ScheduledConditioning
from modules.sampling.levels import EPSILON, FLOW, Flow, Level, Levels
from modules.sampling.noise import ImageNoise
from modules.sampling.registry import Sampler
from modules.sampling.sample import InitLatent, Plan, sample, whole_schedule
from modules.sampling.types import SDModel

CELL = (4, 1, 1)


@dataclass(frozen=True)
class Timetable:
    """The calls of one run. `asked` is the number of steps from noise alone; `skipped` are their levels above the one
    where the run begins, and `calls` those of the calls of the network, in their order."""

    asked: int
    skipped: tuple[Level, ...]
    calls: tuple[Level, ...]

    def sentence(self, strength: float | None) -> str:
        """Why there are so many calls. `strength` is None for a run from noise alone."""
        left = self.asked - len(self.skipped)
        twice = " (some steps ask it twice)" if len(self.calls) > left else ""
        calls = f"{len(self.calls)} calls of the network{twice}"
        if strength is None:
            return f"{self.asked} steps from pure noise: {calls}."
        return (f"{self.asked} steps would lead from pure noise to the picture. At strength {strength:g} the picture "
                f"is noised {strength:.0%} of the way up, so only the last {left} steps are left: {calls}.")


@dataclass
class _Nothing:
    """In the place of a model: its noise levels, and what its answers mean."""

    levels: Levels
    name: str = ""
    prediction: Any = field(init=False)

    def __post_init__(self) -> None:
        self.prediction = FLOW if isinstance(self.levels, Flow) else EPSILON

    predict = None


class _Asked(GuidedDenoiser):
    """Answers with zeros and notes the levels."""

    def __init__(self, levels: Levels) -> None:
        nothing = ScheduledConditioning(())
        super().__init__(cast(SDModel, _Nothing(levels)), Guidance((), nothing, 1.0))
        self.levels: list[Level] = []

    def __call__(self, x: Tensor, level: Level) -> Tensor:
        self.levels.append(level)
        self.calls += 1
        return torch.zeros_like(x)

    def both(self, x: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        answer = self(x, level)
        return answer, answer


def timetable(plan: Plan, levels: Levels, strength: float | None = None) -> Timetable:
    """The calls of a run of `plan` on a model with these `levels`, from noise alone or from a picture at a denoising
    `strength`. DPM adaptive looks for its own steps, which differ with the picture. Raises InvalidInput as `sample`."""
    denoise = _Asked(levels)
    source = None if strength is None else InitLatent(torch.zeros(1, *CELL), strength,
                                                      exact_steps=plan.options.img2img_fix_steps)
    asked = source.steps(plan.steps)[0] if source else plan.steps
    sample(denoise, ImageNoise(CELL, (0,)), replace(plan, sampler=_quiet(plan.sampler)), lambda step, steps, x0: None,
           source)
    whole = whole_schedule(replace(plan, steps=asked), levels)
    top = denoise.levels[0].sigma if denoise.levels else 0.0
    skipped = () if source is None else tuple(one for one in whole if one.sigma > top * (1 + 1e-6))
    return Timetable(asked, skipped, tuple(denoise.levels))


def _quiet(sampler: Sampler) -> Sampler:
    """`sampler` without the noise of a Brownian tree, which takes longer than everything else here."""
    @functools.wraps(sampler.function)
    def function(*told: Any, **named: Any) -> Tensor:
        if "brownian" in named:
            named["brownian"] = lambda *levels: torch.zeros(1, *CELL)
        return sampler.function(*told, **named)

    return replace(sampler, function=function)
