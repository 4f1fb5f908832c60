"""Guidance: from one network that predicts noise for one context to a denoiser that follows a prompt.

Classifier-free guidance (Ho and Salimans 2022): eps = eps_u + scale * (eps_c - eps_u). With several prompts joined by
AND each adds its own difference (Liu et al. 2022, composable diffusion), as WebUI's `CFGDenoiser`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from modules.sampling.schedules import NoiseLevels
from modules.sampling.types import DeepCache, Predict, SDModel


@dataclass(frozen=True)
class ScheduledContext:
    """One prompt over time: `entries` are (last call it holds for, context (77k, C)), ascending."""

    entries: tuple[tuple[int, Tensor], ...]

    def at(self, call: int) -> Tensor:
        """The context for the network's `call`-th call, counted from 0: the first entry that reaches that far."""
        return next((context for last, context in self.entries if call <= last), self.entries[-1][1])


@dataclass(frozen=True)
class Guidance:
    """What to steer by. `prompts` holds, for each image of the batch, its (prompt, weight) parts.

    `extra_channels` (B, 5, h, w) is what an inpainting checkpoint reads beside x: mask and masked latent.
    `rescale` in [0, 1] brings contrast back, see `rescaled`.
    """

    prompts: tuple[tuple[tuple[ScheduledContext, float], ...], ...]
    negative: ScheduledContext
    scale: float
    extra_channels: Tensor | None = None
    rescale: float = 0.0


@dataclass(frozen=True)
class Refiner:
    """Another model that takes over on the way. `load` gives it and its guidance.

    It is due when (999 - t) / 1000 has reached `switch_at` (None: at once), or with `calls` given, when that share of
    so many calls is done. Source: WebUI's `apply_refiner`.
    """

    load: Callable[[], tuple[SDModel, Guidance]]
    switch_at: float | None
    calls: int | None = None

    def due(self, call: int, t: float) -> bool:
        """Whether to switch before the network's `call`-th call, at timestep `t`."""
        done = call / self.calls if self.calls else (999 - round(t)) / 1000
        return self.switch_at is None or done >= self.switch_at


class GuidedDenoiser:
    """eps for (x, t) under guidance; counts its calls, which is what prompt schedules go by.

    cond and uncond go through the network together when they are equally long. A scale of 1 needs no uncond.
    """

    def __init__(self, model: SDModel, guidance: Guidance, refiner: Refiner | None = None, reuse: int = 1) -> None:
        """Of `reuse` calls one is computed whole, the others with its deep features."""
        self.model = model
        self.guidance = guidance
        self.calls = 0
        self.work = 1.0  # of the whole picture at each call, as a share; less when something else spares some of it
        self._refiner = refiner
        self._reuse = reuse
        self._cache: DeepCache | None = None
        self._joined: tuple[list[Tensor], list[Tensor]] = [], []  # contexts, and what `_contexts` made of them

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """x (B, 4, h, w), t (B,) timesteps -> eps (B, 4, h, w)."""
        call = self.next_call(t)
        return self.guided(x, t, call, self._predict(call))

    def both(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(guided eps, unconditional eps), each (B, 4, h, w)."""
        call = self.next_call(t)
        return self._both(x, t, call, self._predict(call))

    def guided(self, x: Tensor, t: Tensor, call: int, predict: Predict) -> Tensor:
        """eps of the network's `call`-th call, asking `predict` in the model's place; of the shape that it answers."""
        if self.guidance.scale == 1 and all(len(parts) == 1 and parts[0][1] == 1 for parts in self.guidance.prompts):
            contexts = stack([parts[0][0].at(call) for parts in self.guidance.prompts])
            return self._ask(predict, x, t, contexts, list(range(len(x))))
        return self._both(x, t, call, predict)[0]

    @property
    def refining(self) -> bool:
        """Whether another model is still to take over."""
        return self._refiner is not None

    def next_call(self, t: Tensor) -> int:
        """The number of the network's next call, at timesteps t (B,), from 0. The refiner takes over when it is due."""
        call = self.calls
        if self._refiner and self._refiner.due(call, float(t[0])):
            self.model, self.guidance = self._refiner.load()
            self._refiner = self._cache = None
        self.calls += 1
        return call

    def _predict(self, call: int) -> Predict:
        if self._reuse == 1:
            return self.model.predict
        whole = self._cache is None or call % self._reuse == 0
        self._cache = self._cache or self.model.deep_cache()
        return self._cache.step(whole)

    def _both(self, x: Tensor, t: Tensor, call: int, predict: Predict) -> tuple[Tensor, Tensor]:
        prompts, scale = self.guidance.prompts, self.guidance.scale
        owners = [k for k, parts in enumerate(prompts) for _ in parts]  # the image that each conditional row is for
        images = list(range(len(prompts)))
        contexts = self._contexts(call)
        if len(contexts) == 1:
            eps = self._ask(predict, x, t, contexts[0], owners + images)
        else:
            cond, uncond = contexts
            eps = torch.cat([self._ask(predict, x, t, cond, owners), self._ask(predict, x, t, uncond, images)])
        eps_cond, eps_uncond = eps[: len(owners)], eps[len(owners) :]  # (rows, 4, h, w), (B, 4, h, w)
        weights = [weight for parts in prompts for _, weight in parts]

        def steered(scale: float) -> Tensor:
            eps = eps_uncond.clone()
            for row, (k, weight) in enumerate(zip(owners, weights, strict=True)):
                eps[k].add_((eps_cond[row] - eps_uncond[k]).mul_(weight * scale))
            return eps

        guided, share = steered(scale), self.guidance.rescale
        return rescaled(guided, steered(1.0), share) if share else guided, eps_uncond

    def _contexts(self, call: int) -> list[Tensor]:
        """What the network is told: cond and below it uncond, (rows + B, 77k, C), or one after the other where they are
        not equally long. They seldom change from call to call, so the last ones are kept."""
        found = [context.at(call) for parts in self.guidance.prompts for context, _ in parts]
        found.append(self.guidance.negative.at(call))
        before, joined = self._joined
        if [*map(id, found)] != [*map(id, before)]:
            cond = stack(found[:-1])  # (rows, 77k, C)
            uncond = found[-1].expand(len(self.guidance.prompts), -1, -1)  # (B, 77k, C)
            joined = [torch.cat([cond, uncond])] if cond.shape[1] == uncond.shape[1] else [cond, uncond]
            self._joined = found, joined
        return joined

    def _ask(self, predict: Predict, x: Tensor, t: Tensor, context: Tensor, rows: list[int]) -> Tensor:
        extra = self.guidance.extra_channels
        full = x if extra is None else torch.cat([x, extra], dim=1)
        if len(x) == 1:  # no copies: they took a third of what a step spends outside the network
            return predict(full.expand(len(rows), -1, -1, -1), t.expand(len(rows)), context)
        return predict(full[rows], t[rows], context)


def rescaled(guided: Tensor, plain: Tensor, share: float) -> Tensor:
    """`guided` with, to the given `share`, the standard deviation of `plain`, what the prompt predicts without a scale.

    Both (B, 4, h, w); the deviation is each image's own. A high scale overexposes pictures, and this undoes it. Source:
    Lin et al. 2023, "Common Diffusion Noise Schedules and Sample Steps are Flawed", section 3.4; on eps, as diffusers.
    """
    factor = plain.std(dim=(1, 2, 3), keepdim=True) / guided.std(dim=(1, 2, 3), keepdim=True)
    return share * guided * factor + (1 - share) * guided


def stack(contexts: Sequence[Tensor]) -> Tensor:
    """Contexts (n_i, C) to one (len, max n, C); shorter ones repeat their last vector, as WebUI's `stack_conds`."""
    longest = max(len(context) for context in contexts)
    return torch.stack([torch.cat([c, c[-1:].expand(longest - len(c), -1)]) for c in contexts])


class SigmaDenoiser:
    """The adapter between the two languages: an eps model over timesteps becomes an x0 model over sigmas.

    x = x0 + sigma * noise here, so the network gets x / sqrt(sigma^2 + 1) (k-diffusion's `CompVisDenoiser`).
    """

    def __init__(self, eps: Callable[[Tensor, Tensor], Tensor], levels: NoiseLevels) -> None:
        self._eps, self._levels = eps, levels

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x (B, 4, h, w), sigma (B,) -> x0 (B, 4, h, w)."""
        scale = sigma.view(-1, 1, 1, 1)
        return x - scale * self._eps(x / (scale**2 + 1) ** 0.5, self._levels.sigma_to_t(sigma))
