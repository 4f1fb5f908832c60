"""From a clean latent back to the noise that would have made it: Euler's steps walked upwards.

Source: WebUI's "img2img alternative test".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

from modules.sampling.solvers.euler import slope
from modules.sampling.types import Denoiser

OnStepUp = Callable[[int, Tensor], None]
"""(number of steps done, x (B, 4, h, w) as it is now). May raise `errors.Stopped`."""


def find_noise(denoise: Denoiser, latent: Tensor, sigmas: Tensor, on_step: OnStepUp, *, adjust: bool) -> Tensor:
    """The noise, (B, 4, h, w) of about unit deviation, whose way down under `denoise` (x0 over sigma) ends at `latent`.

    `sigmas` descend to 0 and are walked from there. `adjust` takes each slope at the level that a step leaves instead
    of the one that it reaches, and divides by the highest level instead of by the deviation that came out.
    """
    x = latent
    levels = sigmas.flip(0).tolist()
    for number, (before, level) in enumerate(pairwise(levels)):
        at = before if adjust else level
        if at > 0:  # a clean latent has no slope
            x = x + slope(x, at, denoise(x, at)) * (level - before)
        on_step(number + 1, x)
    return x / levels[-1] if adjust else x / x.std()


def mixed(found: Tensor, drawn: Tensor, randomness: float) -> Tensor:
    """`found` with a share of `drawn`; unit deviation stays unit deviation."""
    mixture: Tensor = (1 - randomness) * found + randomness * drawn
    return mixture / math.hypot(randomness, 1 - randomness)
