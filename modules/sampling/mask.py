"""The mask blend: how an ordinary checkpoint inpaints. Start reading here.

`paint` is 1 where the picture is made anew and 0 where it is kept; `keep` is 1 - paint. Both, and `original` (the
encoded photograph), are latents: (B, 4, h, w), paint in [0, 1].

There are four places to blend, one function or wrapper each; no sampler knows of any of them:

* `noised_original` (classic DDIM): the original, noised to the level of the step, overwrites the kept part of x.
* `MaskedInput` (webui-1.10's DDIM, PLMS, UniPC): the clean original replaces the kept part of what the network sees.
* `MaskedDenoiser` (k-diffusion samplers): the clean original replaces the kept part of the network's answer.
* `MaskedNoise` (classic DDIM with soft inpainting): the same for a network whose answer is noise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from torch import Tensor

from modules.sampling.types import Denoiser, DrawNoise, per_image

Answer = TypeVar("Answer")

BeforeStep = Callable[[Tensor, float], Tensor]
"""(x, alpha_bar) -> x: what DDIM does to x before each step; alpha_bar is the step's noise level."""

Blend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(original, current, level) -> blended, all latents (B, 4, h, w); level (B,) as the denoiser got it."""


def leave_alone(x: Tensor, alpha_bar: float) -> Tensor:
    """No mask: x as it is."""
    return x


def noised_original(original: Tensor, paint: Tensor, noise: DrawNoise, blend: Blend | None = None) -> BeforeStep:
    """WebUI's classic DDIM inpainting: x = keep * noised_original + paint * x, at every step.

    `noise` gives the initial noise again each time ("initial": the least random choice) or a fresh block ("fresh", as
    WebUI until 1.5.2). An extension's `blend` mixes the two instead. Source: the CompVis DDIM sampler's `mask` and `x0`
    arguments.
    """
    keep = 1 - paint

    def before_step(x: Tensor, alpha_bar: float) -> Tensor:
        # The forward process (DDPM, equation 4) takes the original to the level that x is at.
        noised_original: Tensor = alpha_bar**0.5 * original + (1 - alpha_bar) ** 0.5 * noise()
        if blend is not None:
            return blend(noised_original, x, per_image(x, (1 / alpha_bar - 1) ** 0.5))
        return keep * noised_original + paint * x

    return before_step


def linear_blend(paint: Tensor) -> Blend:
    """keep * original + paint * current, whatever the noise level."""
    keep = 1 - paint
    return lambda original, current, level: keep * original + paint * current


def soft_blend(paint: Tensor, *, power: float, scale: float, detail: float) -> Blend:
    """Soft inpainting: cells that are painted a little follow the original at high noise and let go of it later.

    The share of `current` is paint ** (level ** power * scale). The blended vectors get back the length that mixing
    takes from them, a power mean of order `detail` of both lengths. Source: WebUI's soft inpainting extension.
    """

    def blend(original: Tensor, current: Tensor, level: Tensor) -> Tensor:
        share = (paint ** (level[0] ** power * scale)).expand_as(current)
        mixed = original * (1 - share) + current * share
        part = share[:, :1].cpu().double()  # on the CPU: Apple's GPUs have no double
        lengths = [v.cpu().double().norm(dim=1, keepdim=True) for v in (original, current, mixed)]
        wanted = (lengths[0] ** detail * (1 - part) + lengths[1] ** detail * part) ** (1 / detail)
        result: Tensor = mixed * (wanted / (lengths[2] + 1e-5)).to(mixed)
        return result

    return blend


class MaskedInput(Generic[Answer]):
    """A denoiser that sees the clean original in the kept part of its input (WebUI since 1.6, timestep samplers)."""

    def __init__(self, denoise: Callable[[Tensor, Tensor], Answer], original: Tensor, blend: Blend) -> None:
        self._denoise, self._original, self._blend = denoise, original, blend

    def __call__(self, x: Tensor, t: Tensor) -> Answer:
        return self._denoise(self._blend(self._original, x, t), t)


class MaskedDenoiser:
    """A denoiser whose answer in the kept part is the clean original (WebUI, k-diffusion samplers)."""

    def __init__(self, denoise: Denoiser, original: Tensor, blend: Blend) -> None:
        self._denoise, self._original, self._blend = denoise, original, blend

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self._blend(self._original, self._denoise(x, sigma), sigma)


class MaskedNoise:
    """`MaskedDenoiser` for a denoiser whose answer is eps: classic DDIM with a soft mask.

    Overwriting x at every step would compound: a cell that is half painted would be all original after a few. In the
    answer each step counts once, and DDIM without fresh noise then takes the steps that Euler takes over sigmas.
    """

    def __init__(self, denoise: Denoiser, original: Tensor, blend: Blend, alphas_cumprod: Tensor) -> None:
        self._denoise, self._original, self._blend, self._alphas = denoise, original, blend, alphas_cumprod

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        a = self._alphas.to(x)[t.long()].view(-1, 1, 1, 1)  # (B, 1, 1, 1) in (0, 1)
        signal, noise = a.sqrt(), (1 - a).sqrt()
        x0 = (x - noise * self._denoise(x, t)) / signal
        x0 = self._blend(self._original, x0, (noise / signal).flatten())
        return (x - signal * x0) / noise
