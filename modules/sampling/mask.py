"""The mask blend: how an ordinary checkpoint inpaints. Start reading here.

    x = keep * level.noised(original, noise) + paint * x

`paint` is 1 where the picture is made anew and 0 where it is kept; `keep` is 1 - paint. `original` is the encoded
photograph, a latent (B, C, h, w); paint is (1, 1, h, w) in [0, 1]. `level` is the noise level of the step, so the line
is the same for every family of models (see `levels`).

`linear_blend` is that line. There are four places to blend; `masked_timesteps` and `masked_sigmas` choose. No sampler
knows of any of them:

* `noised_original` (classic DDIM): the noised original and x are blended before each step.
* `MaskedInput` (webui-1.10's DDIM, PLMS, UniPC): the clean original replaces the kept part of what the network sees.
* `MaskedDenoiser` (samplers over sigmas): the clean original replaces the kept part of the network's answer, x0.
* `MaskedPrediction` (classic DDIM with soft inpainting): the same, for a sampler that asks for a Prediction.

To try another blend, write an extension's `blend_mask` (see `hookspecs`): it reaches all four. After a change here
"Small masks" must be Off, because `small_masks.py` knows the kept part of every step in advance. At the end
`InitLatent.blend_end` puts the original latent back where the mask keeps it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from torch import Tensor

from modules.sampling.levels import Level, Levels, Prediction
from modules.sampling.types import Denoiser, DrawNoise, Predictor

Raw = TypeVar("Raw")
Read = TypeVar("Read")

BeforeStep = Callable[[Tensor, Level], Tensor]
"""(x, the step's level) -> x: what DDIM does to x before each step."""

Blend = Callable[[Tensor, Tensor, Level], Tensor]
"""(original, current, level) -> blended, all latents (B, C, h, w). `original` has the noise of `current`: in
`noised_original` that of the level, elsewhere none."""

SoftBlend = Callable[[Tensor, Tensor, float], Tensor]
"""The same with the noise level as a number; see `soft_blend`."""


@dataclass(frozen=True)
class Mask:
    """What is kept and painted, and how the two are mixed.

    `original` (B, C, h, w), `paint` (1, 1, h, w) in [0, 1]. `blend` is `linear_blend(paint)`; a soft blend where `soft`
    says so; an extension's own where `custom` says so.
    """

    original: Tensor
    paint: Tensor
    blend: Blend
    soft: bool = False
    custom: bool = False


def masked_timesteps(answer: Callable[[Tensor, Level], Raw], read: Callable[[Callable[[Tensor, Level], Raw]], Read],
                     mask: Mask | None, noise: DrawNoise, *, classic: bool) -> tuple[Read, BeforeStep]:
    """(what a sampler over timesteps asks, what it does to x before each step), with the mask in its place.

    `read` makes the network's raw answers Predictions. `classic`: the sampler is DDIM with the classic loop, and
    `noise` is the noise of its kept part.
    """
    if mask is None:
        return read(answer), leave_alone
    if not classic:
        return read(MaskedInput(answer, mask.original, mask.blend)), leave_alone
    if mask.soft:
        return cast(Read, MaskedPrediction(cast(Predictor, read(answer)), mask.original, mask.blend)), leave_alone
    return read(answer), noised_original(mask.original, mask.blend, noise)


def masked_sigmas(denoise: Denoiser, mask: Mask | None, levels: Levels) -> Denoiser:
    """What a sampler over sigmas asks, with the mask in its place."""
    return MaskedDenoiser(denoise, mask.original, mask.blend, levels) if mask else denoise


def leave_alone(x: Tensor, level: Level) -> Tensor:
    """No mask: x as it is."""
    return x


def linear_blend(paint: Tensor) -> Blend:
    """keep * original + paint * current, whatever the noise level."""
    keep = 1 - paint
    return lambda original, current, level: keep * original + paint * current


def noised_original(original: Tensor, blend: Blend, noise: DrawNoise) -> BeforeStep:
    """WebUI's classic DDIM inpainting: x = keep * noised_original + paint * x, at every step.

    `noise` gives the initial noise again each time ("initial": the least random choice) or a fresh block ("fresh", as
    WebUI until 1.5.2). `blend` is `linear_blend(paint)` or an extension's own. Source: the CompVis DDIM sampler's
    `mask` and `x0` arguments.
    """
    return lambda x, level: blend(level.noised(original, noise()), x, level)


def soft_blend(paint: Tensor, *, power: float, scale: float, detail: float) -> SoftBlend:
    """Soft inpainting: cells that are painted a little follow the original at high noise and let go of it later.

    The share of `current` is paint ** (level ** power * scale). The level is a number: sigma, or for WebUI's samplers
    over timesteps t. The blended vectors get back the length that mixing takes from them, a power mean of order
    `detail` of both lengths. Source: WebUI's soft inpainting extension.
    """

    def blend(original: Tensor, current: Tensor, level: float) -> Tensor:
        share = (paint ** (level**power * scale)).expand_as(current)
        mixed = original * (1 - share) + current * share
        part = share[:, :1].cpu().double()  # on the CPU: Apple's GPUs have no double
        lengths = [v.cpu().double().norm(dim=1, keepdim=True) for v in (original, current, mixed)]
        wanted = (lengths[0] ** detail * (1 - part) + lengths[1] ** detail * part) ** (1 / detail)
        result: Tensor = mixed * (wanted / (lengths[2] + 1e-5)).to(mixed)
        return result

    return blend


class MaskedInput(Generic[Raw]):
    """A network that sees the clean original in the kept part of its input (WebUI since 1.6, samplers over timesteps).

    Its answer is then read as the answer to x itself, so what is kept goes on without the original.
    """

    def __init__(self, answer: Callable[[Tensor, Level], Raw], original: Tensor, blend: Blend) -> None:
        self._answer, self._original, self._blend = answer, original, blend

    def __call__(self, x: Tensor, level: Level) -> Raw:
        return self._answer(self._blend(self._original, x, level), level)


class MaskedDenoiser:
    """A denoiser whose x0 in the kept part is the clean original (WebUI, samplers over sigmas)."""

    def __init__(self, denoise: Denoiser, original: Tensor, blend: Blend, levels: Levels) -> None:
        self._denoise, self._original, self._blend, self._levels = denoise, original, blend, levels

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        return self._blend(self._original, self._denoise(x, sigma), self._levels.at_sigma(sigma))


class MaskedPrediction:
    """`MaskedDenoiser` for samplers over timesteps: classic DDIM with a soft mask.

    Overwriting x at every step would compound: a cell that is half painted would be all original after a few steps. In
    the answer each step counts once, and DDIM without fresh noise then takes the steps that Euler takes over sigmas.
    """

    def __init__(self, predict: Predictor, original: Tensor, blend: Blend) -> None:
        self._predict, self._original, self._blend = predict, original, blend

    def __call__(self, x: Tensor, level: Level) -> Prediction:
        x0 = self._blend(self._original, self._predict(x, level).x0, level)
        return Prediction(x0, (x - level.signal * x0) / level.noise)
