"""Small masks: classic DDIM inpainting whose network works on a window around the mask at most steps.

The mask blend fixes the kept part of x at every step in advance: the original with its initial noise, at the noise
level of the step. So the network's activations there are computed at a few steps, the keyframes, on the whole picture,
and interpolated between them. A keyframe is computed before the walk reaches it: its kept part is known, and its
painted part is guessed by one long DDIM step from the present x. Steps between keyframes may reuse the deep features of
the step before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from modules.sampling.guidance import GuidedDenoiser
from modules.sampling.levels import Level, Prediction
from modules.sampling.mask import BeforeStep, Mask
from modules.sampling.solvers.ddim import Step
from modules.sampling.types import Box, Predict, Window

MARGIN = 2
"""Cells of context around the painted ones."""
SHALLOW = 0.4
"""The work of a step without the network's deep levels, as a share."""


@dataclass(frozen=True)
class Budget:
    """How a run saves. More whole passes keep closer to the dense picture (benchmarks/README.md)."""

    keyframes: int
    """Whole passes."""
    reuse: int
    """Of so many steps inside the window one computes the network's deep levels anew."""
    worth_it: float
    """The share of the dense work above which the run stays dense."""


AUTO = Budget(keyframes=4, reuse=1, worth_it=0.7)
STRONG = Budget(keyframes=3, reuse=2, worth_it=0.75)
TINY = Budget(keyframes=2, reuse=3, worth_it=0.75)
TINY_AREA = 0.0125
"""Up to this share of the cells, strong takes them for a speck, which the rest of the picture hardly feels."""


def budget_for(mode: str, paint: Tensor) -> Budget:
    """What the option `small_mask`, auto or strong, means for paint (1, 1, h, w)."""
    if mode == "auto":
        return AUTO
    return TINY if float(paint.mean()) <= TINY_AREA else STRONG


def painted_box(paint: Tensor) -> Box | None:
    """The cells of paint (1, 1, h, w) above 0, with a margin; None where there are none."""
    rows, columns = paint[0, 0].amax(1).nonzero(), paint[0, 0].amax(0).nonzero()
    if not len(rows):
        return None
    height, width = paint.shape[2:]
    return (max(int(columns[0]) - MARGIN, 0), max(int(rows[0]) - MARGIN, 0),
            min(int(columns[-1]) + 1 + MARGIN, width), min(int(rows[-1]) + 1 + MARGIN, height))


def keyframes(steps: int, count: int) -> list[int]:
    """`count` of the steps 0 to steps - 1: the first, and others evenly spread, so that half a gap is left behind the
    last. There what it left is held: near the end the picture changes little."""
    return [int(i * steps / (count - 0.5)) for i in range(count)]


def work_share(window: Box, size: tuple[int, int], steps: int, how: Budget) -> float:
    """The network's work as a share of the dense run's, going by the number of cells."""
    area = (window[2] - window[0]) * (window[3] - window[1]) / (size[0] * size[1])
    deep = math.ceil((steps - 1) / how.reuse)
    return (how.keyframes + area * (deep + (steps - 1 - deep) * SHALLOW)) / steps


class WindowedDenoiser:
    """What DDIM asks in one run with a small mask: at most of the steps the network sees the window only.

    Outside the window the prediction is what is known: x0 is the original, and eps the noise that it was given.
    """

    def __init__(self, denoise: GuidedDenoiser, window: Window, steps: Sequence[Step], how: Budget, mask: Mask,
                 before_step: BeforeStep, noise: Tensor) -> None:
        """`before_step` blends the original in, whose noise is `noise` (B, C, h, w)."""
        self._denoise, self._window, self._steps, self._mask = denoise, window, steps, mask
        self._keyframes, self._reuse = keyframes(len(steps), how.keyframes), how.reuse
        self._before_step, self._noise = before_step, noise
        self._cache = denoise.model.deep_cache()
        self._before: list[Any] = []  # what the keyframe before left, for each pass of a guided call
        self._after: list[Any] = []  # and the keyframe ahead

    def __call__(self, x: Tensor, level: Level) -> Prediction:
        """x (B, C, h, w) at `level` -> its prediction."""
        number = self._denoise.next_call(level)
        if number == 0:
            at, self._after = self._whole(x, level, 0)
        else:
            at = self._inside(x, level, number)
        if number in self._keyframes:
            self._before = self._after
            if number != self._keyframes[-1]:
                self._after = self._look_ahead(at, number)
        return at

    def close(self) -> None:
        """Gives the window's memory back."""
        self._window.close()

    def _look_ahead(self, at: Prediction, number: int) -> list[Any]:
        """What the next keyframe leaves, its painted part guessed by one long step from step `number`."""
        ahead = self._keyframes[self._keyframes.index(number) + 1]
        there = self._steps[ahead].level
        guess = self._before_step(Step(self._steps[number].level, there).move(at), there)
        return self._whole(guess, there, ahead)[1]

    def _whole(self, x: Tensor, level: Level, call: int) -> tuple[Prediction, list[Any]]:
        """x (B, C, h, w) at `level` -> (its prediction, the records of the passes over the whole picture)."""
        left: list[Any] = []

        def predict(x: Tensor, *told: Any) -> Tensor:
            with self._window.recording() as memory:
                out = self._denoise.model.predict(x, *told)
            left.append(memory)
            return out

        return self._read(x, self._denoise.guided(x, level, call, predict), level), left

    def _inside(self, x: Tensor, level: Level, number: int) -> Prediction:
        """x (B, C, h, w) at `level` -> its prediction, from the network in the window and what is known outside."""
        last = max(keyframe for keyframe in self._keyframes if keyframe < number)
        following = next((keyframe for keyframe in self._keyframes if keyframe >= number), None)
        share = (number - last) / (following - last) if following else 0.0
        records = zip(self._before, self._after, strict=True)  # one pair for each pass
        predict_step = self._predict(whole=(number - 1) % self._reuse == 0)
        left, top, right, bottom = self._window.box

        def predict(x: Tensor, *told: Any) -> Tensor:
            with self._window.inside(*next(records), share):
                return predict_step(x[:, :, top:bottom, left:right].contiguous(), *told)

        out = self._denoise.guided(x, level, number, predict)
        inside = self._read(x[:, :, top:bottom, left:right], out, level)
        whole = Prediction(self._mask.original.expand_as(x).clone(), self._noise.clone())
        whole.x0[:, :, top:bottom, left:right], whole.eps[:, :, top:bottom, left:right] = inside.x0, inside.eps
        return whole

    def _read(self, x: Tensor, out: Tensor, level: Level) -> Prediction:
        return self._denoise.model.prediction.both(x, out, level)

    def _predict(self, whole: bool) -> Predict:
        """The predict function of a step in the window, which computes the deep levels anew if `whole`."""
        return self._cache.step(whole) if self._cache else self._denoise.model.predict


def windowed_denoiser(denoise: GuidedDenoiser, mode: str, mask: Mask, steps: Sequence[Step],
                      before_step: BeforeStep, noise: Tensor) -> WindowedDenoiser | None:
    """A denoiser for `steps` that saves work, or None where it would not pay. noise (B, C, h, w) is the original's."""
    paint = mask.paint
    if mode == "off" or denoise.refining or denoise.is_wrapped:
        return None
    box, size = painted_box(paint), (paint.shape[3], paint.shape[2])
    how = budget_for(mode, paint)
    if box is None or len(steps) <= how.keyframes:
        return None
    window = denoise.model.window(box, size)
    if window is None:
        return None
    share = work_share(window.box, size, len(steps), how)
    if share > how.worth_it:
        window.close()
        return None
    denoise.work, denoise.window = share, window.box
    return WindowedDenoiser(denoise, window, steps, how, mask, before_step, noise)
