"""Reference: the UNet looks at another picture while it draws (the reference_* modules of the ControlNet extension).

In each call the noised reference goes through the UNet first. That pass writes down what self-attention reads
(`ATTENTION`) or the mean and the variance of the blocks' answers (`STATISTICS`, adaptive instance normalisation, Huang
and Belongie 2017). The pass for x then reads these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from modules.networks.forwards import Forward, replaced

ATTENTION, STATISTICS = "attention", "statistics"
LEAST_VARIANCE = 1e-6


@dataclass
class _Place:
    """One module of the UNet that takes part. `number` says how early: it does where the weight is more."""

    module: nn.Module
    number: float
    kind: str
    written: list[Any] = field(default_factory=list)
    fidelity: list[float] = field(default_factory=list)

    def take(self) -> tuple[list[Any], float]:
        """What was written since the last time, and the mean of the fidelities."""
        written, share = self.written, sum(self.fidelity) / max(len(self.fidelity), 1)
        self.written, self.fidelity = [], []
        return written, share


class Reference:
    """The places in one UNet, for one run. `unet` is diffusers'."""

    def __init__(self, unet: nn.Module) -> None:
        self._places = [*_attentions(unet), *_statistics(unet)]

    @contextmanager
    def writing(self, kinds: Sequence[str], weight: float, fidelity: float, unguided: Sequence[int]) -> Iterator[None]:
        """While this lasts, a call of the UNet writes those of `kinds`, and reads the others as `reading` does."""
        rest = {place.module: _read(place, unguided) for place in self._places
                if place.kind not in kinds and place.written}
        with replaced({place.module: _write(place, fidelity) for place in self._places
                       if place.kind in kinds and weight > place.number} | rest):
            yield

    @contextmanager
    def reading(self, unguided: Sequence[int]) -> Iterator[None]:
        """While this lasts, a call of the UNet reads what was written, which is gone then. The rows `unguided` follow
        it less, by the fidelity."""
        with replaced({place.module: _read(place, unguided) for place in self._places if place.written}):
            yield


def _write(place: _Place, fidelity: float) -> Forward:
    forward = place.module.forward

    def attention(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        place.written.append(x.clone())
        place.fidelity.append(fidelity)
        return forward(x, *args, **kwargs)

    def statistics(*args: Any, **kwargs: Any) -> Any:
        answer = forward(*args, **kwargs)
        x = _plain(answer)
        place.written.append(torch.var_mean(x, dim=(2, 3), keepdim=True, correction=0))
        place.fidelity.append(fidelity)
        return answer

    return attention if place.kind == ATTENTION else statistics


def _read(place: _Place, unguided: Sequence[int]) -> Forward:
    forward, rows = place.module.forward, list(unguided)
    written, share = place.take()

    def attention(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        own = kwargs.pop("encoder_hidden_states", None)
        own = x if own is None else own
        together = forward(x, encoder_hidden_states=torch.cat([own, *written], dim=1), **kwargs)
        if not rows or not share:
            return together
        alone = together.clone()
        alone[rows] = forward(x[rows], encoder_hidden_states=own[rows], **kwargs)
        return share * alone + (1 - share) * together

    def statistics(*args: Any, **kwargs: Any) -> Any:
        answer = forward(*args, **kwargs)
        x = _plain(answer)
        variance, mean = torch.var_mean(x, dim=(2, 3), keepdim=True, correction=0)
        theirs = sum(one for one, _ in written) / len(written), sum(one for _, one in written) / len(written)
        moved = (x - mean) / _deviation(variance) * _deviation(theirs[0]) + theirs[1]
        if rows and share:
            alone = moved.clone()
            alone[rows] = x[rows]
            moved = share * alone + (1 - share) * moved
        return (moved,) if isinstance(answer, tuple) else moved

    return attention if place.kind == ATTENTION else statistics


def _plain(answer: Any) -> Tensor:
    return cast(Tensor, answer[0] if isinstance(answer, tuple) else answer)


def _deviation(variance: Tensor) -> Tensor:
    return variance.clamp(min=LEAST_VARIANCE).sqrt()


def _attentions(unet: Any) -> list[_Place]:
    """The self-attentions, the widest first, numbered from 0 to 1."""
    blocks = [block for part in (*unet.down_blocks, unet.mid_block, *unet.up_blocks)
              for attention in getattr(part, "attentions", ()) for block in attention.transformer_blocks]
    blocks.sort(key=lambda block: -block.norm1.normalized_shape[0])
    return [_Place(block.attn1, number / len(blocks), ATTENTION) for number, block in enumerate(blocks)]


def _statistics(unet: Any) -> list[_Place]:
    """The middle block, the blocks of the deeper half on the way down, and those of the way up but for the finest."""
    down = [_end(block, number) for block in list(unet.down_blocks)[1:] for number in range(len(block.resnets))]
    up = [_end(block, number, rising=True) for block in unet.up_blocks for number in range(len(block.resnets))]
    up = up[: 8 if len(unet.down_blocks) == 4 else 6]
    return [_Place(unet.mid_block, 0.0, STATISTICS),
            *(_Place(module, 2 * (1 - k / len(down)), STATISTICS) for k, module in enumerate(down)),
            *(_Place(module, 2 * (k / len(up)), STATISTICS) for k, module in enumerate(up))]


def _end(block: Any, number: int, *, rising: bool = False) -> nn.Module:
    """The last module of residual block `number` of one level, with its attention and its upsampler."""
    if rising and number == len(block.resnets) - 1 and getattr(block, "upsamplers", None):
        return cast(nn.Module, block.upsamplers[0])
    attentions = getattr(block, "attentions", None)
    return cast(nn.Module, attentions[number] if attentions else block.resnets[number])
