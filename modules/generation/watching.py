"""Watching a run of a sampler: wrappings of the denoiser and the mask, which change nothing and tell of each call.

`sampling` knows nothing of it: `WatchedDenoiser` is a `GuidedDenoiser`, `WatchedStart` an `InitLatent`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from modules.generation.recording import Recording
from modules.hooks.in_job import Hooks
from modules.hooks.steps import Blended, Call, Run, Watch
from modules.request import Txt2Img
from modules.request.job_context import EnoughRecorded, JobContext
from modules.sampling.conditioning import Conditioning, Residuals
from modules.sampling.guidance import GuidedDenoiser, Wrapper
from modules.sampling.levels import Level
from modules.sampling.mask import Mask
from modules.sampling.sample import InitLatent, Wraps
from modules.sampling.types import Call as NetworkCall
from modules.sampling.types import Predict, RowPredict, SDModel


class Watcher:
    """Puts together what one run did, call by call, and tells the `watches` when a step is done."""

    def __init__(self, watches: Sequence[Watch]) -> None:
        self._watches = watches
        self._calls: list[Call] = []  # not told yet
        self._pending: Blended | None = None  # a blend whose call is still to come
        self._control: tuple[float, ...] = ()  # of the call that is under way
        self._step = 0  # the last one reported

    def blended(self, mask: Mask, original: Tensor, current: Tensor, result: Tensor) -> None:
        """The mask was used, between or after two calls."""
        where = "x" if original is not mask.original else "x0" if self._awaits_blend else "input"
        blend = Blended(where, original.float(), current.clone().float(), result.clone().float())
        if where == "x0":
            self._calls[-1] = dataclasses.replace(self._calls[-1], blend=blend)
        else:
            self._pending = blend

    def controlled(self, residuals: Residuals | None) -> None:
        """The network is about to be asked with what control units add."""
        if residuals is not None:
            each = (*residuals.skips, *([] if residuals.middle is None else [residuals.middle]), *residuals.features)
            self._control = tuple(float(one.float().square().mean().sqrt()) for one in each)

    @property
    def _awaits_blend(self) -> bool:
        """Whether the last call has had no blend, which then comes behind it."""
        return bool(self._calls) and self._calls[-1].blend is None and self._pending is None

    def answered(self, denoise: GuidedDenoiser, x: Tensor, level: Level, number: int, guided: Tensor,
                 uncond: Tensor | None) -> None:
        """The network has answered its call of that `number`."""
        blend, self._pending = self._pending, None
        control, self._control = self._control, ()
        if number != denoise.calls - 1:  # a keyframe of Small masks, computed ahead on a guess
            return
        window = denoise.window if guided.shape != x.shape else None
        x, guided = x.clone().float(), guided.clone().float()
        at = None if window else denoise.model.prediction.both(x, guided, level)
        self._calls.append(Call(number, self._step, denoise.model, level, x, guided,
                                None if uncond is None else uncond.clone().float(), at.x0 if at else x,
                                at.eps if at else x, blend, window, control))

    def stepped(self, step: int, x0: Tensor) -> None:
        """Step `step` (from 0) has begun with the guess x0 (B, C, h, w). A sampler of second order reports it before
        its second call, which is still of this step."""
        calls, self._calls = self._calls, []
        begin = _nearest(calls, x0)
        self._tell(calls[:begin], None)
        self._step = step
        self._tell(calls[begin:], x0)

    def close(self) -> None:
        """The run is over, or broken off: what was called since the last report is told too."""
        self._tell([call for call in self._calls if call.window is None], None)

    def _tell(self, calls: Sequence[Call], x0: Tensor | None) -> None:
        for call in calls:
            call = dataclasses.replace(call, step=self._step)
            if call.window is not None and x0 is not None:  # what is known outside of the window is in the guess
                whole = x0.clone().float()
                call = dataclasses.replace(call, x0=whole,
                                           eps=(call.x - call.level.signal * whole) / call.level.noise)
            for watch in self._watches:
                watch(call)


def _nearest(calls: Sequence[Call], x0: Tensor) -> int:
    """Which of `calls` guessed x0, with the mask or without it. The last one if several did."""
    def distance(number: int) -> float:
        call = calls[number]
        guesses = [call.x0, call.blend.result] if call.blend and call.blend.where == "x0" else [call.x0]
        return min(float((guess - x0).abs().amax()) for guess in guesses)

    return min(range(len(calls) - 1, -1, -1), key=distance, default=0)


class WatchedDenoiser(GuidedDenoiser):
    """A `GuidedDenoiser` that tells a watcher of each of its answers."""

    def __init__(self, watcher: Watcher, *arguments: Any) -> None:
        """`arguments` are those of a `GuidedDenoiser`."""
        super().__init__(*arguments)
        self._watcher = watcher

    def answers(self, x: Tensor, level: Level, call: int, predict: Predict) -> tuple[Tensor, Tensor | None]:
        guided, uncond = super().answers(x, level, call, predict)
        self._watcher.answered(self, x, level, call, guided, uncond)
        return guided, uncond

    def both(self, x: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        guided, uncond = super().both(x, level)
        self._watcher.answered(self, x, level, self.calls - 1, guided, uncond)
        return guided, uncond


@dataclass(frozen=True)
class WatchedStart(InitLatent):
    """An `InitLatent` whose mask tells of each blend."""

    watcher: Watcher | None = None

    def mask(self, number: Callable[[Level], float], wraps: Wraps) -> Mask | None:
        mask, watcher = super().mask(number, wraps), self.watcher
        if mask is None or watcher is None:
            return mask
        usual = mask.blend

        def blend(original: Tensor, current: Tensor, level: Level) -> Tensor:
            result = usual(original, current, level)
            watcher.blended(mask, original, current, result)
            return result

        return dataclasses.replace(mask, blend=blend)


def telling(control: Wrapper, watcher: Watcher) -> Wrapper:
    """`control`, telling `watcher` what it adds to each call of the network."""
    def wrap(predict: RowPredict, model: SDModel) -> RowPredict:
        def ask(x: Tensor, level: Level, cond: Conditioning, call: NetworkCall) -> Tensor:
            watcher.controlled(cond.residuals)
            return predict(x, level, cond, call)

        return control.wrap(ask, model)

    return dataclasses.replace(control, wrap=wrap)


def watched(source: InitLatent, watcher: Watcher) -> WatchedStart:
    """`source`, telling `watcher`."""
    values: dict[str, Any] = {item.name: getattr(source, item.name) for item in dataclasses.fields(source)}
    return WatchedStart(**values, watcher=watcher)


@contextlib.contextmanager
def watching(hooks: Hooks, run: Run, request: Txt2Img, job: JobContext, warnings: list[str],
             fingerprint: Callable[[], str]) -> Iterator[Watcher | None]:
    """The watcher of one run, None if nobody watches. What was recorded is written at the end, however the run ends;
    `warnings` gets a sentence if that fails. A recording has the run's `fingerprint` (`generation.replay`)."""
    watches = hooks.watches(run, request)
    path = None
    try:
        path = job.recording() if request.record_steps else None
    except EnoughRecorded as enough:
        warnings.append(str(enough))
    recording = Recording(path, run, fingerprint()) if path else None
    if not watches and recording is None:
        yield None
        return
    watcher = Watcher([*watches, *([recording] if recording else [])])
    try:
        yield watcher
    finally:
        watcher.close()
        if recording:
            recording.close()
            warnings += [recording.warning] if recording.warning else []
