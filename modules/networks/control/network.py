"""A control network that is ready to be asked."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from modules.networks.control.adapter import Adapter
from modules.networks.control.controlnet import ControlNet
from modules.networks.memo import Memo, fingerprint
from modules.networks.packing import weight_bytes
from modules.sampling.conditioning import Conditioning, Residuals
from modules.sampling.levels import Level

LEVELS, XL_LEVELS = (0, 1, 2, 3), (1, 1, 2, 2)
"""The level of the UNet whose size each of an adapter's features has."""


class ControlNetwork:
    """A ControlNet or a T2I-Adapter that computes on `device` in `dtype` and answers in float32.

    What it makes of a picture before the first step is kept for the next run.
    """

    def __init__(self, name: str, module: ControlNet | Adapter, device: torch.device, dtype: torch.dtype) -> None:
        self.name, self._module, self._device, self._dtype = name, module, device, dtype
        self.nbytes = weight_bytes(module)
        self._encoded: Memo[Tensor] = Memo()

    @property
    def is_adapter(self) -> bool:
        """Whether it is a T2I-Adapter."""
        return isinstance(self._module, Adapter)

    @property
    def answers(self) -> int:
        """How many tensors it adds."""
        return 4 if isinstance(self._module, Adapter) else len(self._module.zero_convs) + 1

    @property
    def kinds(self) -> int:
        """How many kinds of maps it must be told apart; 0 where it knows one."""
        union = None if isinstance(self._module, Adapter) else self._module.union
        return 0 if union is None else union.shape.kinds

    @torch.no_grad()
    def ask(self, x: Tensor, level: Level, cond: Conditioning, hint: Tensor, kind: int = 0) -> list[Tensor]:
        """x (B, C, h, w) at `level`, cond of B rows, hint (1, 3, H, W), which is a map of `kind` -> what it adds, from
        the finest level to the middle block, each (B or 1, C', h', w')."""
        module = self._module
        if isinstance(module, Adapter):
            return self._features(module, x, hint)
        key = (kind, fingerprint(hint))
        encoded = self._encoded.get(key, lambda: module.encode_hint(hint.to(self._device, self._dtype), kind))
        t = torch.full((len(x),), level.t, dtype=torch.float32, device=self._device)
        cond = replace(cond, residuals=None).to(self._device, self._dtype)
        answer = cast(Residuals, module(x.to(self._device, self._dtype), t, cond, encoded, kind))
        return [*(one.float() for one in answer.skips), cast(Tensor, answer.middle).float()]

    def _features(self, module: Adapter, x: Tensor, hint: Tensor) -> list[Tensor]:
        sizes = [tuple(x.shape[2:])]
        for _ in range(3):
            sizes.append(tuple(-(-side // 2) for side in sizes[-1]))
        found = []
        features = module(hint.to(self._device, self._dtype))
        for level, feature in zip(XL_LEVELS if module.shape.is_xl else LEVELS, features, strict=True):
            fits = tuple(feature.shape[2:]) == sizes[level]
            found.append((feature if fits else F.interpolate(feature, size=sizes[level])).float())
        return found


def added(answers: list[tuple[ControlNetwork, list[Tensor]]]) -> Residuals | None:
    """What several networks add together. None where there is none."""
    skips = _sums([answer for network, answer in answers if not network.is_adapter])
    features = _sums([answer for network, answer in answers if network.is_adapter])
    if not skips and not features:
        return None
    return Residuals(tuple(skips[:-1]), skips[-1] if skips else None, tuple(features))


def _sums(answers: list[list[Tensor]]) -> list[Tensor]:
    if not answers:
        return []
    total = answers[0]
    for answer in answers[1:]:
        total = [one + more for one, more in zip(total, answer, strict=True)]
    return total
