"""The samplers by name, and the one function that runs them: everything the engine knows of sampling is here.

To add a sampler, write its function and add one line to `SAMPLERS`. A function names the arguments that it wants, and
`sample` passes those: noise, brownian, on_step, eta, before_step, s_churn, s_tmin, s_tmax, s_noise, sigma_min, ...
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from modules.errors import InvalidInput
from modules.sampling import ddim, dpmpp, euler
from modules.sampling.schedules import AUTOMATIC, SCHEDULES, find_schedule


@dataclass(frozen=True)
class Sampler:
    """One sampler under its WebUI name.

    `timesteps`: it works on eps over DDIM's grid of timesteps; otherwise on x0 over sigmas. `schedule` is what
    Automatic means for it. `second_order`: two network calls a step, which prompt schedules count. `uses_ensd`: the
    eta noise seed delta concerns it. `discard_next_to_last`: it leaves the smallest positive sigma out.
    """

    name: str
    function: Callable[..., Tensor]
    aliases: tuple[str, ...] = ()
    timesteps: bool = False
    schedule: str = "uniform"
    second_order: bool = False
    uses_ensd: bool = False
    discard_next_to_last: bool = False

    @property
    def wants(self) -> frozenset[str]:
        """The names of the function's keyword arguments."""
        return frozenset(inspect.signature(self.function).parameters)


SAMPLERS = (
    Sampler("DDIM", ddim.sample_ddim, ("ddim",), timesteps=True),
    Sampler("Euler a", euler.sample_euler_ancestral, ("k_euler_a", "k_euler_ancestral"), uses_ensd=True),
    Sampler("Euler", euler.sample_euler, ("k_euler",)),
    Sampler("DPM++ 2M", dpmpp.sample_dpmpp_2m, ("k_dpmpp_2m",), schedule="karras"),
    Sampler("DPM++ SDE", dpmpp.sample_dpmpp_sde, ("k_dpmpp_sde",), schedule="karras", second_order=True),
)


def find_sampler(text: str) -> tuple[Sampler, str]:
    """(sampler, schedule label) for a name, an alias, or an old name that ends in a schedule ("DPM++ 2M Karras").

    The schedule is Automatic unless the name held one. Raises InvalidInput when there is no such sampler.
    """
    wanted = text.strip().lower()
    for sampler in SAMPLERS:
        for name in (sampler.name.lower(), *(alias.lower() for alias in sampler.aliases)):
            if wanted == name:
                return sampler, AUTOMATIC
            for schedule in SCHEDULES:
                if wanted in (f"{name} {schedule.label.lower()}", f"{name}_{schedule.name}"):
                    return sampler, schedule.label
    raise InvalidInput(f"There is no sampler called {text!r}.", field="sampler_name")


def resolve(sampler_name: str, scheduler: str) -> tuple[Sampler, str]:
    """(sampler, WebUI's label of the schedule it will walk). Timestep samplers have a grid of their own: Automatic.

    A schedule inside the sampler's name counts when `scheduler` is Automatic. Raises InvalidInput.
    """
    sampler, from_name = find_sampler(sampler_name)
    label = scheduler or AUTOMATIC
    if label.lower() == AUTOMATIC.lower():
        label = from_name
    return sampler, label if label == AUTOMATIC else find_schedule(label).label


def run(sampler: Sampler, denoise: Callable[..., Any], x: Tensor, levels: Any, arguments: Mapping[str, Any]) -> Tensor:
    """Calls the sampler's function with those of `arguments` that it names."""
    return sampler.function(denoise, x, levels, **{k: v for k, v in arguments.items() if k in sampler.wants})
