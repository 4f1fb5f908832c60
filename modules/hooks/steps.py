"""What a run of a sampler looks like from outside, call by call: what `watch_steps` is told.

A run asks its network once a step, or twice with a sampler of second order. With a mask each call has one blend, in one
of three places (see `sampling.mask`): in x before the call ("x"), in what the network sees ("input"), or in its guess
of the finished latent ("x0").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from modules.sampling.levels import Level
    from modules.sampling.types import Box, SDModel


@dataclass(frozen=True)
class Run:
    """One run of a sampler. `calls` is how many calls of the network are expected.

    `paint` (1, 1, h, w) in [0, 1] is the mask as the latent sees it, 1 where the picture is made; None without a mask.
    `second` says that it is the second pass of hires fix. `scale` is the CFG scale.
    """

    sampler: str
    scale: float
    calls: int
    paint: Tensor | None = None
    soft: bool = False
    second: bool = False


@dataclass(frozen=True)
class Blended:
    """One use of the mask: `result` = keep * `original` + paint * `current`, or a soft blend. All (B, C, h, w).

    `where` is "x", "input" or "x0". `original` has the noise of the call's level where that is "x", and none elsewhere.
    """

    where: str
    original: Tensor
    current: Tensor
    result: Tensor


@dataclass(frozen=True)
class Call:
    """One call of the network: x = level.signal * x0 + level.noise * eps. Tensors are (B, C, h, w), float32.

    `number` counts calls from 0, `step` the sampler's steps. `model` answered. `x` is what it was asked about. `guided`
    is the answer under guidance and `uncond` the answer to the negative prompt, None where that was not asked for;
    `model.prediction` says what they mean. `x0` and `eps` are the guided answer in both languages. With Small masks
    `window` is the part of the latent that the network saw; outside of it all answers are those of x0 and eps as known.
    `control` is how strong what control units add to the network is: the root mean square of each tensor, from the
    finest to the middle block's; empty where nothing is added.
    """

    number: int
    step: int
    model: SDModel
    level: Level
    x: Tensor
    guided: Tensor
    uncond: Tensor | None
    x0: Tensor
    eps: Tensor
    blend: Blended | None = None
    window: Box | None = None
    control: tuple[float, ...] = ()


Watch = Callable[[Call], None]
"""Told of each call, once its step is done. It must not change the tensors."""
