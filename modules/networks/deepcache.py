"""DeepCache (Ma et al. 2024, arXiv 2312.00858): deep features of the UNet are used again for a few steps.

From one step to the next the deep levels of the UNet change little. A whole pass stores what they hand up to the
outermost level. A shallow pass computes the outermost level alone, on the way down and on the way up, and takes the
stored features for the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from modules.networks.forwards import Forward, replaced
from modules.sampling.types import Predict


class UNetDeepCache:
    """Whole and shallow passes of a UNet with at least two levels. Only one thread may use it at a time."""

    def __init__(self, unet: nn.Module, network: Predict) -> None:
        """`network` calls `unet`; each call of it is one pass."""
        self._network = network
        down, up = (cast(Sequence[Any], unet.get_submodule(f"{way}_blocks")) for way in ("down", "up"))
        self._last_deep = up[-2]
        self._skipped = [down[0].downsamplers[0], *down[1:], unet.get_submodule("mid_block"), *up[:-2]]
        self._features: list[Tensor] = []

    def step(self, whole: bool) -> Predict:
        """Return the predict function of one step, with the arguments and the result of `network`.

        A step may call it several times, for contexts of different length; each call has features of its own. With
        `whole` every call is a whole pass. Otherwise a call is shallow if the step before has left features for it with
        the same number of rows.
        """
        stored = iter([] if whole else self._features)
        self._features = []

        @torch.no_grad()
        def predict(x: Tensor, *told: Any) -> Tensor:
            deep = next(stored, None)
            if deep is None or len(deep) != len(x):
                with self.recording():
                    return self._network(x, *told)
            self._features.append(deep)
            with self.reusing(deep):
                return self._network(x, *told)

        return predict

    @contextmanager
    def recording(self) -> Iterator[None]:
        """While this lasts, the deep features of each pass are stored."""
        forward = self._last_deep.forward

        def record(*args: Any, **kwargs: Any) -> Tensor:
            self._features.append(cast(Tensor, forward(*args, **kwargs)))
            return self._features[-1]

        with replaced({self._last_deep: record}):
            yield

    def reusing(self, deep: Tensor) -> AbstractContextManager[None]:
        """While this lasts, the deep levels are not computed; they give `deep` (B, C, h, w)."""
        return replaced({block: _pass_on(block) for block in self._skipped} | {self._last_deep: lambda **_: deep})


def _pass_on(block: Any) -> Forward:
    """A place-holder for `block` that returns its input, a down block once more for each of its skip connections."""
    if not hasattr(block, "downsamplers"):
        return lambda hidden_states, *_, **__: hidden_states
    skips = len(block.resnets) + len(block.downsamplers or [])
    return lambda hidden_states, *_, **__: (hidden_states, (hidden_states,) * skips)
