"""Control networks that are ready to be asked: those whose answers are added inside the UNet, and those that change
what its layers compute."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.annotate.preprocessor import Pixels
from modules.networks.control.adapter import Adapter
from modules.networks.control.controlnet import ControlNet
from modules.networks.control.ip_adapter import ImagePrompt, IPAdapter
from modules.networks.control.lllite import LLLite, LLLitePatch
from modules.networks.image_encoder import ImageEncoder, Wanted
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
    def ask(self, x: Tensor, level: Level, cond: Conditioning, hints: Sequence[Tensor],
            kinds: Sequence[int] = (0,)) -> list[Tensor]:
        """x (B, C, h, w) at `level`, cond of B rows, hints (1, 3, H, W) each, which are maps of these `kinds` -> what
        it adds, from the finest level to the middle block, each (B or 1, C', h', w'). Only unions read several hints.
        """
        module = self._module
        if isinstance(module, Adapter):
            return self._features(module, x, hints[0])
        key = tuple(kinds), tuple(map(fingerprint, hints))
        encoded = self._encoded.get(key, lambda: self._sum(module, hints, kinds))
        t = torch.full((len(x),), level.t, dtype=torch.float32, device=self._device)
        cond = replace(cond, residuals=None).to(self._device, self._dtype)
        answer = cast(Residuals, module(x.to(self._device, self._dtype), t, cond, encoded, kinds))
        return [*(one.float() for one in answer.skips), cast(Tensor, answer.middle).float()]

    def _sum(self, module: ControlNet, hints: Sequence[Tensor], kinds: Sequence[int]) -> Tensor:
        first, *more = (module.encode_hint(hint.to(self._device, self._dtype), kind)
                        for hint, kind in zip(hints, kinds, strict=True))
        for encoded in more:
            first = first + encoded
        return first

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


@dataclass(frozen=True)
class EncoderInUse:
    """An image encoder that is read when it is needed; `key` is equal for equal ones."""

    key: Hashable
    load: Callable[[], ImageEncoder]


class IPAdapterNetwork:
    """An IP-Adapter that computes on `device` in `dtype`. The tokens of a picture are kept for the next run."""

    def __init__(self, name: str, module: IPAdapter, device: torch.device, dtype: torch.dtype) -> None:
        self.name, self._module, self._device, self._dtype = name, module, device, dtype
        self.nbytes = weight_bytes(module)
        self._tokens: Memo[Tensor] = Memo()

    def wanted(self, width: int) -> Wanted:
        """The encoder that it reads; of so many channels, if that is not 0."""
        shape = self._module.shape
        return Wanted(shape.image_channels, shape.reads_pooled, width)

    @torch.no_grad()
    def prompt(self, pictures: Sequence[Pixels], unet: nn.Module, encoder: EncoderInUse) -> ImagePrompt:
        """The pictures, (H, W, 3) each, as what `unet` attends to. Raises CheckpointError."""
        key = encoder.key, tuple(fingerprint(torch.from_numpy(picture)) for picture in pictures)
        tokens = self._tokens.get(key, lambda: self._tokens_of(pictures, encoder.load()))
        return ImagePrompt(self._module, unet, tokens)

    def _tokens_of(self, pictures: Sequence[Pixels], encoder: ImageEncoder) -> Tensor:
        """(2, tokens, C): of the negative prompt's rows, which see nothing, and of the others."""
        pooled = self._module.shape.reads_pooled
        seen = torch.cat([encoder.see(picture, pooled=pooled) for picture in pictures])
        nothing = torch.zeros_like(seen) if pooled else encoder.see(None, pooled=False).expand_as(seen)
        return torch.cat([self._module.tokens(one.to(self._device, self._dtype)) for one in (nothing, seen)])


class LLLiteNetwork:
    """A ControlNet-LLLite that computes on `device` in `dtype`."""

    def __init__(self, name: str, module: LLLite, device: torch.device, dtype: torch.dtype) -> None:
        self.name, self._module, self._device, self._dtype = name, module, device, dtype
        self.nbytes = weight_bytes(module)

    @torch.no_grad()
    def patch(self, hint: Tensor, unet: nn.Module) -> LLLitePatch:
        """The hint (1, 3, H, W), values 0 to 1, as what changes the layers of `unet`."""
        return LLLitePatch(self._module, unet, hint.to(self._device, self._dtype))


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
