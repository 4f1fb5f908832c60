"""The samplers by name, and the one function that runs them.

To add a sampler, write its function and add one line to `SAMPLERS`. The function takes the denoiser, the latent and the
noise levels, and names further arguments that it wants out of `SIGMA_ARGUMENTS` or `TIMESTEP_ARGUMENTS`; `run` passes
those. What the parameters text says about a sampler follows from its entry and from the arguments that it names.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from modules.errors import InvalidInput
from modules.sampling.guidance import SigmaDenoiser
from modules.sampling.levels import Levels
from modules.sampling.schedules import AUTOMATIC, SCHEDULES, find_schedule
from modules.sampling.solvers import ddim, dpm, dpmpp, euler, lcm, lms, plms, restart, tcd, unipc

SIGMA_ARGUMENTS = frozenset({"noise", "brownian", "on_step", "ends", "model_levels", "eta", "gamma", "s_churn",
                             "s_tmin", "s_tmax", "s_noise"})
"""What `sample` offers to samplers that work on x0 over sigmas. `ends`: the first and the last sigma above 0 for those
that find their own way between them; from noise alone that is the whole range of the model, whatever the schedule."""
TIMESTEP_ARGUMENTS = frozenset({"noise", "on_step", "eta", "before_step", "model_levels", "from_noise", "variant",
                                "order", "spacing", "lower_order_final"})
"""What `sample` offers to samplers that work on Predictions over timesteps."""

@dataclass(frozen=True)
class Sampler:
    """One sampler under its WebUI name.

    `timesteps`: it works on Predictions over DDIM's grid of timesteps; otherwise on x0 over sigmas. `schedule` is the
    name of the schedule that Automatic stands for. `second_order`: it calls the network twice a step, which prompt
    schedules count. `uses_ensd`: the eta noise seed delta changes its noise, and the parameters text says so.
    `discard_next_to_last`: it leaves the smallest positive sigma out. `scale_divisor`: the CFG scale is divided by it.
    `flows`: it makes pictures with a flow's levels too.
    `levels` and `denoiser` define which of the model's levels it knows, and what x0 means to it.
    """

    name: str
    function: Callable[..., Tensor]
    aliases: tuple[str, ...] = ()
    timesteps: bool = False
    schedule: str = "uniform"
    second_order: bool = False
    uses_ensd: bool = False
    discard_next_to_last: bool = False
    scale_divisor: float = 1.0
    flows: bool = True
    levels: Callable[[Levels], Levels] = lambda levels: levels
    denoiser: type[SigmaDenoiser] = SigmaDenoiser

    @property
    def wants(self) -> frozenset[str]:
        """The names of the function's arguments."""
        return frozenset(inspect.signature(self.function).parameters)

    @property
    def keywords(self) -> tuple[str, ...]:
        """The names of the function's arguments after the denoiser, the latent and the noise levels."""
        return tuple(inspect.signature(self.function).parameters)[3:]

    @property
    def schedule_label(self) -> str:
        """The schedule that the parameters text names for Automatic."""
        plain = self.timesteps or self.schedule == "uniform"
        return AUTOMATIC if plain else find_schedule(self.schedule).label

    @property
    def uses_eta(self) -> bool:
        """Whether eta changes its pictures. The option is `eta_ddim` with `timesteps`, else `eta_ancestral`."""
        return "eta" in self.wants

    @property
    def noise_option(self) -> str:
        """The option that says how much noise it adds at each step, empty if none does."""
        if "gamma" in self.wants:
            return "tcd_gamma"
        return "" if not self.uses_eta else "eta_ddim" if self.timesteps else "eta_ancestral"

    @property
    def uses_churn(self) -> bool:
        """Whether the options `s_churn`, `s_tmin` and `s_tmax` change its pictures."""
        return "s_churn" in self.wants

    @property
    def uses_s_noise(self) -> bool:
        """Whether the option `s_noise` changes its pictures."""
        return "s_noise" in self.wants

    @property
    def uses_ddim_loop(self) -> bool:
        """Whether the options `ddim_loop`, `mask_noise` and `small_mask` change its pictures."""
        return "before_step" in self.wants

    def check(self) -> None:
        """Raise InvalidInput if the function asks for an argument that `sample` does not have."""
        offered = TIMESTEP_ARGUMENTS if self.timesteps else SIGMA_ARGUMENTS
        unknown = [name for name in self.keywords if name not in offered]
        if unknown:
            raise InvalidInput(f"The sampler {self.name} asks for {', '.join(unknown)}; after the denoiser, the latent "
                               f"and the noise levels it can ask for {', '.join(sorted(offered))}.")


SAMPLERS = (
    Sampler("DPM++ 2M", dpmpp.sample_dpmpp_2m, ("k_dpmpp_2m",), schedule="karras"),
    Sampler("DPM++ SDE", dpmpp.sample_dpmpp_sde, ("k_dpmpp_sde",), schedule="karras", second_order=True),
    Sampler("DPM++ 2M SDE", dpmpp.sample_dpmpp_2m_sde, ("k_dpmpp_2m_sde",), schedule="exponential"),
    Sampler("DPM++ 2M SDE Heun", dpmpp.sample_dpmpp_2m_sde_heun, ("k_dpmpp_2m_sde_heun",), schedule="exponential"),
    Sampler("DPM++ 2S a", dpmpp.sample_dpmpp_2s_ancestral, ("k_dpmpp_2s_a",), schedule="karras", second_order=True,
            uses_ensd=True),
    Sampler("DPM++ 3M SDE", dpmpp.sample_dpmpp_3m_sde, ("k_dpmpp_3m_sde",), schedule="exponential",
            discard_next_to_last=True),
    Sampler("Euler a", euler.sample_euler_ancestral, ("k_euler_a", "k_euler_ancestral"), uses_ensd=True),
    Sampler("Euler", euler.sample_euler, ("k_euler",)),
    Sampler("LMS", lms.sample_lms, ("k_lms",)),
    Sampler("Heun", euler.sample_heun, ("k_heun",), second_order=True),
    Sampler("DPM2", dpm.sample_dpm2, ("k_dpm_2",), schedule="karras", second_order=True, discard_next_to_last=True),
    Sampler("DPM2 a", dpm.sample_dpm2_ancestral, ("k_dpm_2_a",), schedule="karras", second_order=True,
            discard_next_to_last=True, uses_ensd=True),
    Sampler("DPM fast", dpm.sample_dpm_fast, ("k_dpm_fast",), uses_ensd=True),
    Sampler("DPM adaptive", dpm.sample_dpm_adaptive, ("k_dpm_ad",), uses_ensd=True),
    Sampler("Restart", restart.sample_restart, ("restart",), schedule="karras", second_order=True),
    Sampler("DDIM", ddim.sample_ddim, ("ddim",), timesteps=True),
    Sampler("DDIM CFG++", ddim.sample_ddim_cfgpp, ("ddim_cfgpp",), timesteps=True, scale_divisor=12.5),
    Sampler("DDPM", ddim.sample_ddpm, ("ddpm",), timesteps=True),
    Sampler("PLMS", plms.sample_plms, ("plms",), timesteps=True),
    Sampler("UniPC", unipc.sample_unipc, ("unipc",), timesteps=True),
    Sampler("LCM", lcm.sample_lcm, ("k_lcm",), flows=False, levels=lcm.LcmLevels, denoiser=lcm.LcmDenoiser),
    Sampler("TCD", tcd.sample_tcd, ("k_tcd",), schedule="simple", flows=False),
)


def find_sampler(text: str, samplers: Sequence[Sampler] = SAMPLERS) -> tuple[Sampler, str]:
    """(sampler, schedule label) for a name, an alias, or an old name that ends in a schedule ("DPM++ 2M Karras").

    `samplers` are all that there are. The schedule is Automatic unless the name held one. Raises InvalidInput when
    there is no such sampler.
    """
    wanted = text.strip().lower()
    for sampler in samplers:
        for name in (sampler.name.lower(), *(alias.lower() for alias in sampler.aliases)):
            if wanted == name:
                return sampler, AUTOMATIC
            for schedule in SCHEDULES:
                if wanted in (f"{name} {schedule.label.lower()}", f"{name}_{schedule.name}"):
                    return sampler, schedule.label
    raise InvalidInput(f"There is no sampler called {text!r}.", field="sampler_name")


def resolve(sampler_name: str, scheduler: str, samplers: Sequence[Sampler] = SAMPLERS) -> tuple[Sampler, str]:
    """(sampler, WebUI's label of its schedule). A schedule inside the sampler's name goes before `scheduler`, and the
    sampler's usual one is Automatic, as in WebUI's `get_sampler_and_scheduler`. Raises InvalidInput.
    """
    sampler, from_name = find_sampler(sampler_name, samplers)
    label = scheduler if from_name == AUTOMATIC else from_name
    if (label or AUTOMATIC).lower() == AUTOMATIC.lower():
        return sampler, AUTOMATIC
    schedule = find_schedule(label)
    usual = sampler.schedule != "uniform" and schedule.name == sampler.schedule
    return sampler, AUTOMATIC if usual else schedule.label


def joined(others: Sequence[Sampler]) -> tuple[Sampler, ...]:
    """Our samplers, and behind them those of `others` whose names are not taken."""
    taken = {sampler.name.lower() for sampler in SAMPLERS}
    return (*SAMPLERS, *(sampler for sampler in others if sampler.name.lower() not in taken))


def run(sampler: Sampler, denoise: Callable[..., Any], x: Tensor, levels: Any, arguments: Mapping[str, Any]) -> Tensor:
    """Call the sampler's function with those of `arguments` that it names. Return the sampled latent."""
    return sampler.function(denoise, x, levels, **{name: arguments[name] for name in sampler.keywords
                                                  if name in arguments})
