"""Deep features of the UNet used again for a few steps (DeepCache, Ma et al. 2024, arXiv 2312.00858).

From one step to the next the deep levels of the UNet change little. A whole pass keeps what they hand up to the
outermost level; a shallow pass computes that level alone, on its way down and up, and takes the rest as it was kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from modules.sampling.types import Predict


class UNetDeepCache:
    """`unet` in whole and shallow passes. Not for two threads at once."""

    def __init__(self, unet: nn.Module, dtype: torch.dtype = torch.float32) -> None:
        self._unet = unet
        self._dtype = dtype
        down, up = (cast(Sequence[Any], unet.get_submodule(f"{way}_blocks")) for way in ("down", "up"))
        self._last_deep = up[-2]
        self._skipped = [down[0].downsamplers[0], *down[1:], unet.get_submodule("mid_block"), *up[:-2]]
        self._kept: list[Tensor] = []

    def step(self, whole: bool) -> Predict:
        """What predicts the noise for one step, x (B, C, h, w), t (B,), context (B, tokens, C) -> eps (B, 4, h, w).

        A step may ask several times, for contexts of different length; each asking has its own features. One for which
        nothing fitting is kept is a whole pass.
        """
        kept = iter([] if whole else self._kept)
        self._kept = []

        @torch.no_grad()
        def predict(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
            deep = next(kept, None)
            fits = deep is not None and len(deep) == len(x)
            with self._from(deep) if fits else self._kept_by(self._last_deep):
                eps = self._unet(x.to(self._dtype), t, context.to(self._dtype), return_dict=False)[0]
            if fits:
                self._kept.append(cast(Tensor, deep))
            return cast(Tensor, eps).float()

        return predict

    @contextmanager
    def _kept_by(self, block: Any) -> Iterator[None]:
        """Keeps what `block` gives."""
        def forward(*args: Any, **kwargs: Any) -> Tensor:
            deep = cast(Tensor, type(block).forward(block, *args, **kwargs))
            self._kept.append(deep)
            return deep

        with _forwards({block: forward}):
            yield

    @contextmanager
    def _from(self, deep: Any) -> Iterator[None]:
        """The deep levels give `deep`, at once."""
        with _forwards({block: _pass(block) for block in self._skipped} | {self._last_deep: lambda **_: deep}):
            yield


def _pass(block: Any) -> Callable[..., Any]:
    """A block's place-holder: it hands on what it gets, a down block once more for each skip connection that it has."""
    if not hasattr(block, "downsamplers"):
        return lambda hidden_states, *_, **__: hidden_states
    skips = len(block.resnets) + len(block.downsamplers or [])
    return lambda hidden_states, *_, **__: (hidden_states, (hidden_states,) * skips)


@contextmanager
def _forwards(forwards: dict[Any, Callable[..., Any]]) -> Iterator[None]:
    """The modules compute by other functions while this lasts."""
    try:
        for module, forward in forwards.items():
            module.forward = forward
        yield
    finally:
        for module in forwards:
            del module.forward
