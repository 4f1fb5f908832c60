"""Guidance: from a network that answers for one context to a denoiser that follows a prompt.

Classifier-free guidance (Ho and Salimans 2022): out = uncond + scale * (cond - uncond). With several prompts joined by
AND each adds its own difference (Liu et al. 2022, composable diffusion), as WebUI's `CFGDenoiser`.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from modules.sampling.conditioning import Conditioning, Pad, join, stack
from modules.sampling.levels import Level, Levels, PredictionType
from modules.sampling.pace import Pace
from modules.sampling.types import Answer, Box, Call, DeepCache, Predict, RowPredict, SDModel

Told = tuple[Conditioning, Conditioning, Conditioning | None]
"""(rows of cond, rows of uncond, both as one batch)."""


@dataclass(frozen=True)
class ScheduledConditioning:
    """One prompt over time: `entries` are (last call it holds for, its conditioning), ascending."""

    entries: tuple[tuple[int, Conditioning], ...]

    def at(self, call: int) -> Conditioning:
        """The conditioning for the network's `call`-th call, counted from 0: the first entry that reaches that far."""
        return next((cond for last, cond in self.entries if call <= last), self.entries[-1][1])


@dataclass(frozen=True)
class Guidance:
    """What to steer by. `prompts` holds, for each image of the batch, its (prompt, weight) parts.

    `beside` (B, c, h, w) are the channels that the network reads beside x, see `SDModel.inputs`.
    `rescale` in [0, 1] brings contrast back, see `rescaled`. `pad` brings the tokens of cond and uncond to one length
    where they differ; without it the network is asked for one after the other. `beside_scale` says how strongly
    `beside` is followed; None follows it as it is. `embeddings` are those that the prompts name, as the
    parameters text shows them.
    """

    prompts: tuple[tuple[tuple[ScheduledConditioning, float], ...], ...]
    negative: ScheduledConditioning
    scale: float
    beside: Tensor | None = None
    rescale: float = 0.0
    pad: Pad | None = None
    beside_scale: float | None = None
    embeddings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refiner:
    """Another model that takes over on the way. `load` gives it and its guidance.

    It is due when that share of the trained levels has been passed which `switch_at` names (None: at once), or with
    `by_calls` that share of the network's calls. Source: WebUI's `apply_refiner`.
    """

    load: Callable[[], tuple[SDModel, Guidance]]
    switch_at: float | None
    by_calls: bool = False

    def due(self, call: int, level: Level, pace: Pace) -> bool:
        """Whether to switch before the network's `call`-th call, at `level`."""
        done = pace.share(call) if self.by_calls else pace.descent(level)
        return self.switch_at is None or done >= self.switch_at


@dataclass(frozen=True)
class SkipUncond:
    """When the network is not asked for the negative prompt, which then counts for nothing: half the work of a call.

    `early`: in that share of the calls at the beginning. `below`: where the noise level is less than this, at every
    second call, or with `all_calls` at each of them (negative guidance minimum sigma, NGMS). 0 means never. Source:
    WebUI's `CFGDenoiser.forward`.
    """

    early: float = 0.0
    below: float = 0.0
    all_calls: bool = False

    def keys(self, call: int, level: Level, pace: Pace) -> dict[str, Any]:
        """What the parameters text says of the `call`-th call, at `level`; empty if the network is asked as usual."""
        if self.early and pace.share(call) <= self.early:
            return {"Skip Early CFG": self.early}
        if (call % 2 or self.all_calls) and pace.number(level) < self.below:
            return {"NGMS": self.below} | ({"NGMS all steps": True} if self.all_calls else {})
        return {}


Row = tuple[int, bool]
"""(the image of the batch that a row is for, whether it is told the prompt)."""


@dataclass(frozen=True)
class Wrapper:
    """What is put around each call of the network. `wrap(predict, model)` returns `predict` wrapped, once for each
    model that is used. `both`: the network is asked for the negative prompt too where that changes nothing."""

    wrap: Callable[[RowPredict, SDModel], RowPredict]
    both: bool = False


class GuidedDenoiser:
    """The answer for x at a level under guidance; counts its calls, which is what prompt schedules go by.

    cond and uncond go through the network together when they are equally long. A scale of 1 needs no uncond.
    """

    def __init__(self, model: SDModel, guidance: Guidance, refiner: Refiner | None = None, reuse: int = 1,
                 pace: Pace | None = None, skip: SkipUncond | None = None,
                 keys: MutableMapping[str, Any] | None = None, wrapper: Wrapper | None = None, steps: int = 1) -> None:
        """Of `reuse` calls one is computed whole, the others with its deep features. `keys` takes what the parameters
        text has to say of the calls, in the order in which it came about. `wrapper` is put around each call of the
        network, which is told of so many `steps`; deep features are not used again then."""
        self.model = model
        self.guidance = guidance
        self.calls = 0
        self.work = 1.0  # of the whole picture at each call, as a share; less when something else spares some of it
        self.window: Box | None = None  # the part of the latent that is asked for where it is not the whole
        self.padded = False
        self.step = 0
        """The last step that was reported."""
        self._refiner = refiner
        self._reuse = 1 if wrapper else reuse
        self._wrapper, self._steps = wrapper, steps
        self._wrapped: tuple[SDModel, RowPredict] | None = None
        self._network: Predict = model.predict
        self._pace = pace or Pace()
        self._skip = skip or SkipUncond()
        self._keys = {} if keys is None else keys
        self._skipping = False
        self._cache: DeepCache | None = None
        # Conditionings, and what `_conditionings` made of them.
        self._told: tuple[list[Conditioning], Told | None] = [], None

    def __call__(self, x: Tensor, level: Level) -> Tensor:
        """x (B, C, h, w) at `level` -> the guided answer (B, C, h, w); `model.prediction` says what it means."""
        call = self.next_call(level)
        return self.guided(x, level, call, self._predict(call))

    def both(self, x: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        """(guided answer, unconditional answer), each (B, C, h, w)."""
        call = self.next_call(level)
        return self._both(x, level, call, self._predict(call))

    def guided(self, x: Tensor, level: Level, call: int, predict: Predict) -> Tensor:
        """The answer of the network's `call`-th call, asking `predict` in the model's place; of the shape that
        `predict` answers."""
        return self.answers(x, level, call, predict)[0]

    def answers(self, x: Tensor, level: Level, call: int, predict: Predict) -> tuple[Tensor, Tensor | None]:
        """`guided`, and the unconditional answer; None where guidance needs none."""
        alone = all(len(parts) == 1 and parts[0][1] == 1 for parts in self.guidance.prompts)
        both = self._wrapper is not None and self._wrapper.both
        if alone and self.guidance.scale == 1 and self.guidance.beside_scale is None and not both:
            conds = stack([parts[0][0].at(call) for parts in self.guidance.prompts])
            return self._ask(predict, x, level, conds, [(k, True) for k in range(len(x))]), None
        return self._both(x, level, call, predict)

    @property
    def is_wrapped(self) -> bool:
        """Whether something is put around each call of the network."""
        return self._wrapper is not None

    @property
    def refining(self) -> bool:
        """Whether another model is still to take over."""
        return self._refiner is not None

    def next_call(self, level: Level) -> int:
        """The number of the network's next call, at `level`, from 0. The refiner takes over when it is due."""
        call = self.calls
        if self._refiner and self._refiner.due(call, level, self._pace):
            self.model, self.guidance = self._refiner.load()
            self._refiner = self._cache = None
        skipped = self._skip.keys(call, level, self._pace)
        self._keys.update(skipped)
        self._skipping = bool(skipped)
        self.calls += 1
        return call

    def _predict(self, call: int) -> Predict:
        if self._reuse == 1:
            return self.model.predict
        whole = self._cache is None or call % self._reuse == 0
        self._cache = self._cache or self.model.deep_cache()
        return self._cache.step(whole) if self._cache else self.model.predict

    def _both(self, x: Tensor, level: Level, call: int, predict: Predict) -> tuple[Tensor, Tensor]:
        prompts, scale = self.guidance.prompts, self.guidance.scale
        owners = [k for k, parts in enumerate(prompts) for _ in parts]  # the image that each conditional row is for
        images = list(range(len(prompts)))
        told, untold = [(k, True) for k in owners], [(k, False) for k in images]
        cond, uncond, joined = self._conditionings(call)
        if self._skipping:  # what the first part of each prompt gives stands in for uncond
            out = self._ask(predict, x, level, cond, told)
            out, scale = torch.cat([out, out[[owners.index(k) for k in images]]]), 1.0
        elif joined:
            out = self._ask(predict, x, level, joined, told + untold)
        else:
            out = torch.cat([self._ask(predict, x, level, cond, told), self._ask(predict, x, level, uncond, untold)])
        given, withheld = out[: len(owners)], out[len(owners) :]  # (rows, C, h, w), (B, C, h, w)
        base = withheld if self._skipping else self._over_beside(predict, x, level, uncond, withheld)
        weights = [weight for parts in prompts for _, weight in parts]

        def steered(scale: float) -> Tensor:
            out = base.clone()
            for row, (k, weight) in enumerate(zip(owners, weights, strict=True)):
                out[k].add_((given[row] - withheld[k]).mul_(weight * scale))
            return out

        guided, share = steered(scale), self.guidance.rescale
        return rescaled(guided, steered(1.0), share) if share else guided, withheld

    def _over_beside(self, predict: Predict, x: Tensor, level: Level, uncond: Conditioning, out: Tensor) -> Tensor:
        """The answer `out` (B, C, h, w) to `uncond` with what the network reads beside x weighed: by InstructPix2Pix's
        third row (Brooks et al. 2023, section 3.2.1), which sees neither prompt nor picture."""
        scale, beside = self.guidance.beside_scale, self.guidance.beside
        if scale is None or beside is None:
            return out
        blind = self._call(predict, torch.cat([x, torch.zeros_like(beside)], dim=1), level, uncond,
                           [(k, False) for k in range(len(x))])
        return blind + scale * (out - blind)

    def _conditionings(self, call: int) -> Told:
        """What the network is told: (rows of cond, rows of uncond, both in one where their tokens are equally many).
        They seldom change from call to call, so the last ones are kept."""
        found = [scheduled.at(call) for parts in self.guidance.prompts for scheduled, _ in parts]
        found.append(self.guidance.negative.at(call))
        before, told = self._told
        if told is None or [*map(id, found)] != [*map(id, before)]:
            cond = stack(found[:-1])
            uncond = stack([found[-1]] * len(self.guidance.prompts))
            self.padded = self.guidance.pad is not None and cond.tokens.shape[1] != uncond.tokens.shape[1]
            if self.guidance.pad and self.padded:
                cond, uncond = self.guidance.pad(cond, uncond)
            told = cond, uncond, join(cond, uncond) if cond.tokens.shape[1] == uncond.tokens.shape[1] else None
            self._told = found, told
        return told

    def _ask(self, predict: Predict, x: Tensor, level: Level, cond: Conditioning, rows: list[Row]) -> Tensor:
        beside = self.guidance.beside
        full = x if beside is None else torch.cat([x, beside], dim=1)
        if len(x) == 1:  # no copies: they took a third of what a step spends outside the network
            return self._call(predict, full.expand(len(rows), -1, -1, -1), level, cond, rows)
        return self._call(predict, full[[k for k, _ in rows]], level, cond, rows)

    def _call(self, predict: Predict, x: Tensor, level: Level, cond: Conditioning, rows: list[Row]) -> Tensor:
        """One call of the network, with what is put around it."""
        if self._wrapper is None:
            return predict(x, level, cond)
        self._network = predict
        if self._wrapped is None or self._wrapped[0] is not self.model:
            self._wrapped = self.model, self._wrapper.wrap(
                lambda x, level, cond, call: self._network(x, level, cond), self.model)
        return self._wrapped[1](x, level, cond, Call(self.step, self._steps, tuple(rows)))


def rescaled(guided: Tensor, plain: Tensor, share: float) -> Tensor:
    """`guided` with, to the given `share`, the standard deviation of `plain`, what the prompt predicts without a scale.

    Both (B, 4, h, w); the deviation is each image's own. A high scale overexposes pictures, and this undoes it. Source:
    Lin et al. 2023, "Common Diffusion Noise Schedules and Sample Steps are Flawed", section 3.4; on eps, as diffusers.
    """
    factor = plain.std(dim=(1, 2, 3), keepdim=True) / guided.std(dim=(1, 2, 3), keepdim=True)
    return share * guided * factor + (1 - share) * guided


class SigmaDenoiser:
    """The adapter between the two languages: a network over levels becomes an x0 model over sigmas.

    For Stable Diffusion x = x0 + sigma * noise here, so the network gets x / sqrt(sigma^2 + 1) (k-diffusion's
    `CompVisDenoiser` and `CompVisVDenoiser`).
    """

    def __init__(self, answer: Answer, denoise: GuidedDenoiser, levels: Levels) -> None:
        """`answer` is `denoise`, or what extensions put around it."""
        self._answer, self._denoise, self._levels = answer, denoise, levels

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """x (B, C, h, w) at `sigma` -> x0 (B, C, h, w)."""
        level = self._levels.at_sigma(sigma)
        out = self._answer(self._levels.scaled(x, level), level)
        return self._prediction().over_sigma(x, out, level)

    def _prediction(self) -> PredictionType:
        """What the answer means."""
        return self._denoise.model.prediction
