"""What if: a run that goes on with something else after some calls of the network.

The first calls are given again from a recording, or computed as before. Then there are two ways:

* Prompts, CFG scale and mask: the sampler walks on. It has seen the same answers as in the run before, so that its
  history is right, and with nothing changed the picture is the same byte for byte. Small masks are off where the mask
  changes.
* Sampler, seed and strength: the walk ends, and another one begins from the guess of the last call. The guess is noised
  to the level of the new schedule that lies at or below that of the next call, or to the new strength. The noise is
  the one that the network saw, in the kept part that of the seed; with a new seed all of it is drawn anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from modules.generation.replay import Replay
from modules.generation.watching import WatchedDenoiser, Watcher
from modules.request import Txt2Img
from modules.sampling.guidance import Guidance, GuidedDenoiser
from modules.sampling.levels import Level, Prediction
from modules.sampling.mask import Blend, linear_blend
from modules.sampling.sample import InitLatent, Plan, whole_schedule
from modules.sampling.types import Predict, SDModel


class Reached(Exception):
    """The call after which another walk begins has been reached, at `level`."""

    def __init__(self, level: Level) -> None:
        super().__init__()
        self.level = level


@dataclass(frozen=True)
class Change:
    """What happens `after` so many calls: the model is guided by `guidance`, or with `ends` the walk ends there.
    `replay` has the answers of the calls before."""

    after: int
    guidance: Callable[[SDModel], Guidance]
    replay: Replay | None = None
    ends: bool = False


class ChangingDenoiser(GuidedDenoiser):
    """A `GuidedDenoiser` that goes on with something else on its way. `last` is the last walked call: what was asked,
    at which level, and the guided answer."""

    def __init__(self, change: Change, *arguments: Any) -> None:
        """`arguments` are those of a `GuidedDenoiser`."""
        super().__init__(*arguments)
        self._change = change
        self._later: tuple[SDModel, Guidance] | None = None
        self.last: tuple[Tensor, Level, Tensor] | None = None

    def answers(self, x: Tensor, level: Level, call: int, predict: Predict) -> tuple[Tensor, Tensor | None]:
        found = self._replayed(x, level, call)
        if found is None:
            found = self._guided_by(call, lambda: super(ChangingDenoiser, self).answers(x, level, call, predict))
        if call == self.calls - 1:  # not a keyframe of Small masks, computed ahead
            self.last = x, level, found[0]
        return found

    def both(self, x: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        call = self.next_call(level)
        guided, uncond = self._replayed(x, level, call) or (None, None)
        if guided is None or uncond is None:
            guided, uncond = self._guided_by(call, lambda: self._both(x, level, call, self._predict(call)))
        self.last = x, level, guided
        return guided, uncond

    def guess(self, x0: Tensor) -> Prediction:
        """What the last call found. `x0` (B, C, h, w) is the guess that the sampler reported, for a call that saw a
        window only."""
        assert self.last is not None
        x, level, guided = self.last
        if guided.shape == x.shape:
            return self.model.prediction.both(x, guided, level)
        return Prediction(x0, (x - level.signal * x0) / level.noise)

    def _replayed(self, x: Tensor, level: Level, call: int) -> tuple[Tensor, Tensor | None] | None:
        """The recorded answers of a call; None if it is to be computed. Raises Reached."""
        change = self._change
        if change.ends and call == self.calls - 1 == change.after:
            raise Reached(level)
        if change.replay is None or self.window is not None:
            return None
        # With deep features kept, the first call that is computed must be a whole one.
        given = min(change.replay.calls, change.after - change.after % self._reuse)
        return change.replay.answers(call, x) if call < given else None

    def _guided_by(self, call: int, ask: Callable[[], Any]) -> Any:
        """What `ask` answers under the guidance that holds in that call."""
        if call < self._change.after:
            return ask()
        if self._later is None or self._later[0] is not self.model:
            self._later = self.model, self._change.guidance(self.model)
        before, self.guidance = self.guidance, self._later[1]
        try:
            return ask()
        finally:
            self.guidance = before


class WatchedChangingDenoiser(WatchedDenoiser, ChangingDenoiser):
    """A `ChangingDenoiser` that tells a watcher of each of its answers."""


def denoiser(watcher: Watcher | None, change: Change | None) -> Callable[..., GuidedDenoiser]:
    """What makes the denoiser of a run, of the arguments of a `GuidedDenoiser`."""
    if change is None:
        return GuidedDenoiser if watcher is None else lambda *told: WatchedDenoiser(watcher, *told)
    if watcher is None:
        return lambda *told: ChangingDenoiser(change, *told)
    return lambda *told: WatchedChangingDenoiser(watcher, change, *told)


def changed_source(before: InitLatent, after: InitLatent) -> InitLatent:
    """The start of a run that begins with the mask of `before` and goes on with that of `after`: it begins from the
    first, keeps what either keeps, and paints by the second."""
    assert before.paint is not None
    kept = torch.where(before.paint > 0, after.latent, before.latent)
    return dataclasses.replace(after, latent=kept, begin=before.start)


def changed_blend(blend: Blend, before: InitLatent, denoise: GuidedDenoiser, calls: int) -> Blend:
    """`blend`, but in the first `calls` calls the plain blend of `before`."""
    assert before.paint is not None
    usual = linear_blend(before.paint)
    behind: list[int] = []  # 1 where the blend comes after its call, else 0

    def blended(original: Tensor, current: Tensor, level: Level) -> Tensor:
        if not behind:
            behind.append(denoise.calls)
        return (usual if denoise.calls - behind[0] < calls else blend)(original, current, level)

    return blended


def begun_again(guess: Prediction, noise: Tensor, level: Level, plan: Plan, model: SDModel, request: Txt2Img,
                source: InitLatent | None) -> tuple[InitLatent, Tensor]:
    """(the start, the noise (B, C, h, w) to begin with) of the walk of `plan` that goes on from the `guess` of the call
    before `level`. `source` is that of the run, `noise` the block of its seed, or of the new one."""
    latent = guess.x0 if source is None else source.blend_end(guess.x0)
    if request.then_seed < 0:
        noise = guess.eps if source is None or source.paint is None else \
            guess.eps * source.paint + noise * (1 - source.paint)
    strength = request.then_strength or strength_of(level, plan, model)
    if source is None:
        return InitLatent(latent, strength), noise
    return dataclasses.replace(source, strength=strength, noise_multiplier=1.0, exact_steps=False, begin=latent), noise


def strength_of(level: Level, plan: Plan, model: SDModel) -> float:
    """The denoising strength with which `plan` begins at its level that is nearest below `level`, or at it; at its last
    but one if there is none."""
    schedule = whole_schedule(plan, model.levels)
    below = sum(one.sigma <= level.sigma * (1 + 1e-6) for one in schedule) - 1
    return min((max(below, 1) + 0.5) / plan.steps, 1.0)
