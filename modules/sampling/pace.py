"""How far a run has come: what the refiner's switch and the skipping of the negative prompt go by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from modules.sampling.levels import TRAINED, Level, Levels


@dataclass(frozen=True)
class Pace:
    """A run of `calls` network calls, as WebUI counts them (`CFGDenoiser.total_steps`).

    `number` gives a noise level as the sampler counts it: sigma, or the timestep for samplers over timesteps.
    `index` gives the trained level that it lies at, 0 to 999.
    """

    calls: int = 1
    number: Callable[[Level], float] = lambda level: level.t
    index: Callable[[Level], int] = lambda level: int(level.t)

    def share(self, call: int) -> float:
        """The share of the calls that came before the `call`-th, counted from 0."""
        return call / self.calls

    def descent(self, level: Level) -> float:
        """The share of the trained levels that lie above `level`."""
        return (TRAINED - 1 - self.index(level)) / TRAINED


def over_sigmas(levels: Levels, calls: int) -> Pace:
    """The pace of a sampler over sigmas: the trained level is the one with the nearest sigma."""

    def index(level: Level) -> int:
        return int((levels.sigmas - levels.sigma_of(level)).abs().argmin())

    return Pace(calls, levels.sigma_of, index)
