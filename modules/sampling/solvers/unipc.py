"""UniPC (Zhao et al. 2023, "UniPC: A Unified Predictor-Corrector Framework"), predicting x0, multistep.

lam = log(alpha / sigma) here, with alpha^2 + sigma^2 = 1, or alpha + sigma = 1 of a flow; a step of length h in lam
keeps sigma_next / sigma of x and takes alpha_next * (1 - exp(-h)) of the network's x0; corrections come from how x0 has
changed over the last steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from modules.errors import InvalidInput
from modules.sampling.levels import Level, Levels
from modules.sampling.types import OnStep, Predictor

HUGE = 1000.0
"""Sigmas beyond this are those of a zero terminal SNR."""


class ContinuousLevels:
    """The trained levels as functions of a time in (0, 1]: log(alpha) is linear between them."""

    def __init__(self, levels: Levels) -> None:
        self._levels, self._power = levels, levels.power
        self.log_alphas = levels.signals.log().numpy()
        self.times = np.linspace(0, 1, len(self.log_alphas) + 1)[1:]

    def log_alpha(self, time: float) -> float:
        """log of the signal's scale at `time`."""
        return float(np.interp(time, self.times, self.log_alphas))

    def level(self, time: float) -> Level:
        """The level at `time`; the network is told a fractional timestep."""
        alpha, count = math.exp(self.log_alpha(time)), len(self.times)
        noise = self.noise(alpha)
        return Level(self._levels.told((time - 1 / count) * count, noise), alpha, noise)

    def noise(self, alpha: float) -> float:
        """The noise's scale beside a signal of that scale."""
        return float((1 - alpha**self._power) ** (1 / self._power))

    def below(self, level: Level) -> Level:
        """`level` with the signal and noise of the trained level below it."""
        alpha_bar = math.exp(2 * self.log_alphas[int(level.t)])
        return Level(level.t, alpha_bar**0.5, (1 - alpha_bar) ** 0.5)

    def lam(self, time: float) -> float:
        """log(alpha / sigma) at `time`."""
        log_alpha = self.log_alpha(time)
        return log_alpha - math.log(1 - math.exp(self._power * log_alpha)) / self._power

    def time_of(self, lam: float) -> float:
        """The inverse of `lam`."""
        log_alpha = -np.logaddexp(0, -self._power * lam) / self._power
        return float(np.interp(log_alpha, self.log_alphas[::-1], self.times[::-1]))

    def grid(self, start: float, end: float, steps: int, spacing: str) -> list[float]:
        """`steps` + 1 times from `start` down to `end`: equal in time, in its root, or in lam ("logSNR")."""
        if spacing == "logSNR":
            return [self.time_of(v) for v in np.linspace(self.lam(start), self.lam(end), steps + 1)]
        power = 2 if spacing == "time_quadratic" else 1
        return [float(v) for v in np.linspace(start ** (1 / power), end ** (1 / power), steps + 1) ** power]


@dataclass(frozen=True)
class Point:
    """One visited time: the network's x0 (B, 4, h, w) there."""

    time: float
    x0: Tensor


def sample_unipc(predict: Predictor, x: Tensor, grid: Sequence[int], *, model_levels: Levels, from_noise: bool,
                 on_step: OnStep, variant: str = "bh1", order: int = 3, spacing: str = "time_uniform",
                 lower_order_final: bool = True) -> Tensor:
    """As many network calls as the timestep `grid` has entries, over UniPC's own times from its top to 1/1000.

    Raises InvalidInput when there are fewer steps than the order.
    """
    continuous = ContinuousLevels(model_levels)
    count = len(continuous.times)
    steps = len(grid)
    if steps < order:
        raise InvalidInput(f"UniPC of order {order} needs at least {order} steps.", field="steps")
    start = 1.0 if from_noise else grid[-1] / count + 1 / count
    times = continuous.grid(start, 1 / count, steps, spacing)

    # WebUI turns v into eps at the trained level below. Where the last level has no signal that would be far off.
    below = continuous.below if model_levels.sigma_max < HUGE else lambda level: level
    flow = model_levels.power == 1

    def x0_at(x: Tensor, time: float) -> Tensor:
        level = continuous.level(time)
        if flow:
            return predict(x, level).x0
        eps = predict(x, below(level)).eps
        return (x - level.noise * eps) / level.signal

    past = [Point(times[0], x0_at(x, times[0]))]  # newest first
    for step in range(1, steps + 1):
        this_order = step if step < order else min(order, steps + 1 - step if lower_order_final else order)
        update = _Update(continuous, past[:this_order], times[step], variant)
        predicted = update.predict(x)
        if step < steps:
            point = Point(times[step], x0_at(predicted, times[step]))
            x = update.correct(x, point.x0)
            past = [point, *past[: order - 1]]
        else:
            x = predicted
        on_step(step - 1, past[0].x0)
    return x


class _Update:
    """One step from the newest of the `past` points to `time`, of order len(past)."""

    def __init__(self, levels: ContinuousLevels, past: Sequence[Point], time: float, variant: str) -> None:
        newest = past[0]
        self.x0, self.variant, self.order = newest.x0, variant, len(past)
        self.alpha = math.exp(levels.log_alpha(time))
        self.sigma_ratio = levels.noise(self.alpha) / levels.noise(math.exp(levels.log_alpha(newest.time)))
        h = levels.lam(time) - levels.lam(newest.time)
        self.ratios = [(levels.lam(p.time) - levels.lam(newest.time)) / h for p in past[1:]]
        self.changes = [(p.x0 - newest.x0) / r for p, r in zip(past[1:], self.ratios, strict=True)]
        self.hh = -h  # the exponent for x0 prediction

    def predict(self, x: Tensor) -> Tensor:
        """x at the new time, from the past alone."""
        return self._move(x, self._weights(corrector=False), self.changes)

    def correct(self, x: Tensor, x0_new: Tensor) -> Tensor:
        """x at the new time once more, now that the network has spoken there: one order higher at no cost."""
        return self._move(x, self._weights(corrector=True), [*self.changes, x0_new - self.x0])

    def _move(self, x: Tensor, weights: Sequence[float], changes: Sequence[Tensor]) -> Tensor:
        x = self.sigma_ratio * x - self.alpha * math.expm1(self.hh) * self.x0
        for weight, change in zip(weights, changes, strict=True):
            x = x - self.alpha * weight * change
        return x

    def _weights(self, *, corrector: bool) -> list[float]:
        """How much each change counts."""
        ratios = [*self.ratios, 1.0]
        n = self.order if corrector else self.order - 1
        if n == 0:
            return []
        if self.variant == "vary_coeff":
            return self._varying_weights(ratios, n)
        scale = self.hh if self.variant == "bh1" else math.expm1(self.hh)
        if n == 1 and (corrector or self.order == 2):
            return [0.5 * scale]
        matrix = np.array([[r**k for r in ratios[:n]] for k in range(n)])
        values = np.array([phi * math.factorial(k + 1) / scale for k, phi in enumerate(self._phis(n))])
        return [float(w) * scale for w in np.linalg.solve(matrix, values)]

    def _varying_weights(self, ratios: list[float], n: int) -> list[float]:
        """The variant whose coefficients depend on the spacing alone (the paper's UniPC_v)."""
        matrix = np.array([[r**k / math.factorial(k + 1) for k in range(n)] for r in ratios[:n]])
        return [float(w) for w in np.array(self._phis(n)) @ np.linalg.inv(matrix)]

    def _phis(self, n: int) -> list[float]:
        """phi_2 .. phi_(n+1) of the exponential integrator at hh, each times hh."""
        phi, result = math.expm1(self.hh), []
        for k in range(1, n + 1):
            phi = phi / self.hh - 1 / math.factorial(k)
            result.append(phi)
        return result
