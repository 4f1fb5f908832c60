"""What a family of models is: how a file of it is recognised, which networks it holds, and what their numbers mean.

A family is one file beside this one. It is a table: nothing here reads a tensor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from modules.networks.shapes import Header
from modules.networks.text.words import Embedding
from modules.sampling.conditioning import Conditioning, TextOptions
from modules.sampling.latent import Latent
from modules.sampling.levels import Levels, PredictionType
from modules.sampling.types import Inputs

Sign = Callable[[Header], bool]
"""Something that shows of which family a file is, told by names and shapes alone."""


class PromptEncoder(Protocol):
    """The text encoders of a model together."""

    def encode(self, texts: Sequence[str], how: TextOptions) -> Conditioning:
        """The texts of one prompt over time as the rows of one batch, float32. Raises InvalidInput."""

    def take_words(self, embeddings: Iterable[Embedding]) -> None:
        """From now on prompts may name these `embeddings`, those that fit."""

    def embeddings_in(self, texts: Sequence[str], how: TextOptions) -> list[Embedding]:
        """The embeddings that the texts name, once for each encoder that reads them, in the order in which `encode`
        comes to them. Raises InvalidInput."""

    @property
    def widths(self) -> Mapping[str, int]:
        """The length of the vectors that each encoder reads, by the name that embeddings have for it."""


Ask = Callable[[Callable[..., Any], Tensor, Tensor, Conditioning], Tensor]
"""(network, x (B, C, h, w), t (B,), the rows' conditioning) -> its answer (B, C', h, w)."""


@dataclass(frozen=True)
class Part:
    """One network of a family.

    `prefix` begins its tensors' names in a checkpoint. `shape` reads what it is made of, `build` makes it without
    memory (it is called under `torch.device("meta")`), and `key` gives the parameter of a tensor's name behind the
    prefix, the parameters whose values lie one below the other in it, or None for a tensor that is not needed. `words`
    name it in a sentence. `dtype` gives the type in which it computes where the model is to compute in another.
    `network_names` begin the names of its layers in files of LoRAs, with "_" for "."; a part without them is not
    changed by any. `alone` has the beginnings of names in files of this part alone, each with what stands there in a
    checkpoint. A model does without an `optional` part. `complete` says whether what a part needs beside its weights at
    a path is there, or in the folders that spare files are looked for in, and `settle` gives it to the filled network.
    """

    name: str
    words: str
    prefix: str
    shape: Callable[[Header], Any]
    build: Callable[[Any], nn.Module]
    key: Callable[[str, Any], str | tuple[str, ...] | None]
    dtype: Callable[[torch.dtype], torch.dtype] = lambda dtype: dtype
    network_names: tuple[str, ...] = ()
    alone: Mapping[str, str] = field(default_factory=dict)
    optional: bool = False
    complete: Callable[[Path, Sequence[Path]], bool] = lambda path, folders: True
    settle: Callable[[nn.Module, Path, Sequence[Path]], None] = lambda network, path, folders: None

    def in_checkpoint(self, key: str) -> str:
        """The name in a checkpoint of the tensor that is called `key` in a file of this part alone, or there too."""
        for own, whole in self.alone.items():
            if key.startswith(own):
                return whole + key.removeprefix(own)
        return key


def float32(dtype: torch.dtype) -> torch.dtype:
    """For a part that needs full precision."""
    return torch.float32


def no_float16(dtype: torch.dtype) -> torch.dtype:
    """For a part whose values overflow in float16."""
    return torch.float32 if dtype == torch.float16 else dtype


Told = Callable[[Conditioning, Sequence[str], TextOptions], Conditioning]
"""(the texts of one prompt encoded, the texts, how) -> the conditioning with what is told beside the words."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of file. A file is of the first kind in the list whose `signs` all hold. `label` stands in sentences
    ("an SDXL checkpoint"). One that is no Family is known and cannot be loaded as a checkpoint; `use` says what it is
    good for."""

    label: str
    signs: tuple[Sign, ...]
    use: str = ""

    def recognises(self, header: Header) -> bool:
        """Whether all signs hold."""
        return all(sign(header) for sign in self.signs)


@dataclass(frozen=True, kw_only=True)
class Family(Kind):
    """A family of checkpoints.

    * `parts`: `unet` (the denoiser, whatever its kind), `vae`, and any number of text encoders.
    * `rename` gives old names of tensors their present ones.
    * `check` raises CheckpointError where the shapes of the parts, by name, do not fit together.
    * `text` makes what encodes prompts, of the loaded parts by name; `told` adds what is told beside the words.
    * `ask` calls the denoiser.
    * `latent`, `levels`, `prediction`, `inputs` say what the numbers mean; `inputs` goes by the denoiser's shape.
    * `size` is the width and height in pixels that its checkpoints are trained on, by what they predict.
    """

    name: str
    parts: tuple[Part, ...]
    text: Callable[[Mapping[str, nn.Module], torch.device], PromptEncoder]
    ask: Ask
    latent: Latent
    levels: Callable[[Header], Levels]
    prediction: Callable[[Header], PredictionType]
    inputs: Callable[[Any], Inputs]
    size: Callable[[PredictionType], int] = lambda prediction: 512
    told: Told = lambda cond, texts, how: cond
    rename: Callable[[str], str] = lambda key: key
    check: Callable[[Mapping[str, Any], Header], None] = lambda shapes, header: None

    def part(self, name: str) -> Part:
        """The part of that name."""
        return next(part for part in self.parts if part.name == name)


def no_name(pattern: str) -> Sign:
    """The sign that the regular expression `pattern` is found in no tensor's name."""
    found = some_name(pattern)
    return lambda header: not found(header)


def all_names(pattern: str) -> Sign:
    """The sign that the regular expression `pattern` is found in every tensor's name."""
    search = re.compile(pattern).search
    return lambda header: bool(header.shapes) and all(search(key) for key in header.shapes)


def some_name(pattern: str) -> Sign:
    """The sign that the regular expression `pattern` is found in some tensor's name."""
    search = re.compile(pattern).search
    return lambda header: any(search(key) for key in header.shapes)
