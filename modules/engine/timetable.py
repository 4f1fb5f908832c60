"""The noise levels of a run before it is made, as values that the page draws and programs read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from modules.errors import InvalidInput
from modules.request.options import Options

if TYPE_CHECKING:
    from modules.engine.engine import Engine
    from modules.sampling.levels import Level


def timetable(engine: Engine, sampler: str, scheduler: str, steps: int, strength: float | None,
              options: Options) -> dict[str, Any]:
    """The calls of a run with the levels of the checkpoint in use, or Stable Diffusion 1.x's before one is loaded.

    `calls` and `skipped` are levels {"t", "signal", "noise", "snr"}, where snr is (signal / noise)^2 in decibels;
    `sentence` says why there are so many calls. `strength` is None for a run from noise alone. Raises InvalidInput.
    """
    from modules.sampling import registry
    from modules.sampling.levels import stable_diffusion
    from modules.sampling.sample import Plan
    from modules.sampling.timetable import timetable as found

    if not 1 <= steps <= engine.settings.max_steps:
        raise InvalidInput(f"steps must be between 1 and {engine.settings.max_steps}, not {steps}.", field="steps")
    if strength is not None and not 0 <= strength <= 1:
        raise InvalidInput(f"denoising_strength must be between 0 and 1, not {strength}.", field="denoising_strength")
    resolved, schedule = registry.resolve(sampler, scheduler, engine.samplers)
    levels = engine.loaded.model.levels if engine.loaded else stable_diffusion()
    table = found(Plan(resolved, schedule, steps, options=options), levels, strength)
    return {"sampler": resolved.name, "scheduler": schedule, "asked": table.asked,
            "sentence": table.sentence(strength), "skipped": [_written(one) for one in table.skipped],
            "calls": [_written(one) for one in table.calls]}


def _written(level: Level) -> dict[str, float | None]:
    """A level as JSON has it. None stands for an infinite ratio."""
    ratio = level.signal / level.noise if level.noise else math.inf
    snr = round(20 * math.log10(ratio), 2) if 0 < ratio < math.inf else None
    return {"t": level.t, "signal": level.signal, "noise": level.noise, "snr": snr}
