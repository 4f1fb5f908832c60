"""What the network is told besides the picture: the prompt, encoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class SizeIds:
    """What SDXL is told of a picture beside its prompt (Podell et al. 2023, sections 2.2 and 2.3).

    All in pixels: `original` (width, height) before it was cut for training, `crop` (left, top) where it was cut, and
    `target` (width, height), the size wanted. `aesthetic`: how beautiful it is, 0 to 10, which the refiner is told.
    """

    original: tuple[int, int] = (1024, 1024)
    crop: tuple[int, int] = (0, 0)
    target: tuple[int, int] = (1024, 1024)
    aesthetic: float = 6.0


@dataclass(frozen=True)
class TextOptions:
    """How prompts are encoded, and what they are for.

    WebUI's options: `clip_skip`: 1 takes the text encoder's last layer, 2 the one before it. `clip_l_skip`: SDXL's
    first encoder obeys it too. `emphasis`: one of `EMPHASIS` of `networks.text.clip`. `comma_backtrack`: tokens to look
    back for a comma when a chunk of 75 is full.

    What is told beside the words: the `sizes` of the picture, and whether it is the `negative` prompt.
    """

    clip_skip: int = 1
    emphasis: str = "Original"
    comma_backtrack: int = 20
    clip_l_skip: bool = False
    sizes: SizeIds = SizeIds()
    negative: bool = False

    @property
    def of_words(self) -> TextOptions:
        """The same without what is told beside the words."""
        return replace(self, sizes=SizeIds(), negative=False)


@dataclass(frozen=True)
class Residuals:
    """What control networks add inside a UNet, for the rows of one call, or for one row that stands for all.

    `skips` are added to the skip connections, in the order in which they are made, and `middle` to the middle block's
    answer; both are there or neither; they may be (rows, C, 1, 1). `features` are added to the answers of the blocks on
    the way down, one for each, and a further one to the middle block's. Otherwise each is (rows, C, h, w) in the size
    of what it is added to.
    """

    skips: tuple[Tensor, ...] = ()
    middle: Tensor | None = None
    features: tuple[Tensor, ...] = ()

    def to(self, device: torch.device, dtype: torch.dtype) -> Residuals:
        """The same on `device` in `dtype`."""
        return Residuals(tuple(one.to(device, dtype) for one in self.skips),
                         None if self.middle is None else self.middle.to(device, dtype),
                         tuple(one.to(device, dtype) for one in self.features))


@dataclass(frozen=True)
class Conditioning:
    """One encoded prompt, or with a further first dimension those of several rows of a batch.

    `tokens` (n, C): what cross-attention reads, n a multiple of 77. `vector` (V,): the pooled text, and what else is
    told beside the words, of families that have it, else None. float32. `residuals` are put in for one call.
    """

    tokens: Tensor
    vector: Tensor | None = None
    residuals: Residuals | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return self.tokens.nbytes + (0 if self.vector is None else self.vector.nbytes)

    def to(self, device: torch.device, dtype: torch.dtype) -> Conditioning:
        """The same on `device` in `dtype`."""
        vector = None if self.vector is None else self.vector.to(device, dtype)
        residuals = None if self.residuals is None else self.residuals.to(device, dtype)
        return Conditioning(self.tokens.to(device, dtype), vector, residuals)

    def rows(self) -> list[Conditioning]:
        """Each row of a batch by itself."""
        vectors = [None] * len(self.tokens) if self.vector is None else list(self.vector)
        return [Conditioning(tokens, vector) for tokens, vector in zip(self.tokens, vectors, strict=True)]


def stack(parts: Sequence[Conditioning]) -> Conditioning:
    """Conditionings of one prompt each as the rows of a batch: tokens (len, max n, C), vector (len, V).

    Shorter ones repeat their last token's vector, as WebUI's `stack_conds`.
    """
    longest = max(len(part.tokens) for part in parts)
    tokens = [torch.cat([part.tokens, part.tokens[-1:].expand(longest - len(part.tokens), -1)]) for part in parts]
    vectors = [part.vector for part in parts if part.vector is not None]
    return Conditioning(torch.stack(tokens), torch.stack(vectors) if vectors else None)


def join(first: Conditioning, second: Conditioning) -> Conditioning:
    """The rows of both batches, one below the other; their tokens are equally many."""
    vector = None if first.vector is None or second.vector is None else torch.cat([first.vector, second.vector])
    return Conditioning(torch.cat([first.tokens, second.tokens]), vector)


Pad = Callable[[Conditioning, Conditioning], tuple[Conditioning, Conditioning]]
"""The rows of cond and of uncond, brought to tokens of one length."""


def cut_or_repeat(cond: Conditioning, uncond: Conditioning) -> tuple[Conditioning, Conditioning]:
    """uncond at the length of cond: its last token's vector repeated, or cut (WebUI's DDIM before 1.6)."""
    length, tokens = cond.tokens.shape[1], uncond.tokens
    rest = tokens[:, -1:].expand(-1, max(length - tokens.shape[1], 0), -1)
    return cond, replace(uncond, tokens=torch.cat([tokens[:, :length], rest], dim=1))


def pad_with(empty: Tensor) -> Pad:
    """The shorter one gets the chunk of the empty prompt, `empty` (77, C), as often as it needs it."""

    def pad(cond: Conditioning, uncond: Conditioning) -> tuple[Conditioning, Conditioning]:
        length = max(cond.tokens.shape[1], uncond.tokens.shape[1])

        def longer(batch: Conditioning) -> Conditioning:
            rows, present, _ = batch.tokens.shape
            chunks = [empty.expand(rows, -1, -1)] * ((length - present) // len(empty))
            return replace(batch, tokens=torch.cat([batch.tokens, *chunks], dim=1))

        return longer(cond), longer(uncond)

    return pad
