"""T5's encoder (Raffel et al. 2020), the third text encoder of Stable Diffusion 3: what it is made of, its tokens, and
words to vectors."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.base.stopping import may_go_on
from modules.base.unicode import without_surrogates
from modules.errors import CheckpointError
from modules.networks.shapes import Header, count, shape_of
from modules.sampling.conditioning import TextOptions
from modules.text.prompt import BREAK, parse_attention

END, PAD = 1, 0
STEP = 77
"""Tokens are filled up to a multiple of this: what the networks that read them were trained with."""
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class T5Shape:
    """What the encoder is made of. `inner` channels are those of all heads together, `buckets` those of distances."""

    layers: int
    channels: int
    inner: int
    mlp_channels: int
    vocabulary: int
    heads: int
    buckets: int


def t5_shape(header: Header, prefix: str) -> T5Shape:
    """The encoder under `prefix`, in transformers' layout. Raises CheckpointError, also for T5 1.0, whose layers have
    no gates, and for weights with scales of their own."""
    block = prefix + "encoder.block.0.layer."
    if any(key.startswith(prefix) and "scale" in key for key in header.shapes):
        raise CheckpointError(f"{header.name} has a T5 with scales beside its weights; this program cannot load it.")
    vocabulary, channels = shape_of(header, prefix + "shared.weight", (2,))
    buckets, heads = shape_of(header, block + "0.SelfAttention.relative_attention_bias.weight", (2,))
    inner = shape_of(header, block + "0.SelfAttention.q.weight", (2,))[0]
    if inner % heads:
        raise CheckpointError(f"{header.name} is damaged: its T5 has {inner} channels for {heads} heads.")
    return T5Shape(count(header, re.escape(prefix) + r"encoder\.block\.(\d+)\."), channels, inner,
                   shape_of(header, block + "1.DenseReluDense.wi_0.weight", (2,))[0], vocabulary, heads, buckets)


class Gated(nn.Module):
    """A gated layer of two matrices and a third (GEGLU with the GELU's approximation by tanh).

    transformers' layer casts what it computes to the type of its weights, in which it overflows where these stay in
    half precision.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.wi_0, self.wi_1, self.wo = layer.wi_0, layer.wi_1, layer.wo

    def forward(self, x: Tensor) -> Tensor:
        """x (B, tokens, C) -> the same shape."""
        return cast(Tensor, self.wo(F.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x)))


def build_t5(shape: T5Shape) -> nn.Module:
    """The network without weights; call it under `torch.device("meta")`."""
    from transformers import T5Config, T5EncoderModel

    network: Any = T5EncoderModel(T5Config(
        vocab_size=shape.vocabulary, d_model=shape.channels, d_kv=shape.inner // shape.heads,
        d_ff=shape.mlp_channels, num_layers=shape.layers, num_heads=shape.heads,
        relative_attention_num_buckets=shape.buckets, feed_forward_proj="gated-gelu", use_cache=False))
    for block in network.encoder.block:
        block.layer[1].DenseReluDense = Gated(block.layer[1].DenseReluDense)
    return cast(nn.Module, network.encoder)


def t5_key(key: str, shape: T5Shape) -> str | None:
    """The parameter of a tensor; None for the decoder's, and for a second copy of the table of tokens."""
    if key == "shared.weight":
        return "embed_tokens.weight"
    if key.startswith(("encoder.embed_tokens.", "decoder.", "lm_head.")) or key in ("spiece_model", "logit_scale"):
        return None
    return key.removeprefix("encoder.")


def in_bfloat16(dtype: torch.dtype) -> torch.dtype:
    """T5's values overflow in float16, and it is large."""
    return torch.bfloat16 if dtype == torch.float16 else dtype


def tokenizer_of(path: Path, folders: Sequence[Path]) -> Path | None:
    """T5's tokenizer for weights at `path`: beside them, in a folder `tokenizer_3`, or anywhere in `folders`."""
    beside = [place / TOKENIZER for place in (path.parent, path / "tokenizer_3", path.parent / "tokenizer_3")]
    spare = [file for folder in folders if folder.is_dir() for file in sorted(folder.rglob(TOKENIZER))]
    return next((file for file in (*beside, *spare) if _is_t5s(file)), None)


def _is_t5s(file: Path) -> bool:
    """CLIP's tokenizer has a file of the same name, and another kind of model in it."""
    try:
        return b'"Unigram"' in file.read_bytes()
    except OSError:
        return False


def take_tokenizer(network: nn.Module, path: Path, folders: Sequence[Path]) -> None:
    """The network reads words with the tokenizer for weights at `path`. Raises CheckpointError."""
    from transformers import PreTrainedTokenizerFast

    file = tokenizer_of(path, folders)
    assert file is not None
    try:
        cast(Any, network).tokenizer = cast(Any, PreTrainedTokenizerFast)(tokenizer_file=str(file))
    except Exception as error:  # tokenizers raises Exception itself
        raise CheckpointError(f"{file.parent.name}/{file.name} is no tokenizer of T5.") from error


class T5Encoder:
    """A T5 encoder with its tokenizer."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._network, self._device = cast(Any, network), device

    @property
    def _encode(self) -> Callable[..., list[int]]:
        return cast(Callable[..., list[int]], self._network.tokenizer.encode)

    def _tokens(self, text: str, how: TextOptions) -> tuple[list[int], list[float]]:
        """Tokens and their weights, the end token included. Each part of a prompt is tokenised by itself."""
        parts = [(text, 1.0)] if how.emphasis in ("None", "Old") else parse_attention(text)
        tokens, weights = list[int](), list[float]()
        for words, weight in parts:
            if (words, weight) != BREAK:
                own = self._encode(without_surrogates(words), add_special_tokens=False)
                tokens += own
                weights += [weight] * len(own)
        return [*tokens, END], [*weights, 1.0]

    def encode(self, texts: Sequence[str], how: TextOptions) -> Tensor:
        """(texts, 77 * n, channels), float32, with the weights that the prompts give. All are filled up to the longest.
        """
        may_go_on()
        rows = [self._tokens(text, how) for text in texts]
        longest = -(-max(len(tokens) for tokens, _ in rows) // STEP) * STEP
        ids = torch.tensor([tokens + [PAD] * (longest - len(tokens)) for tokens, _ in rows], device=self._device)
        z = self._network(input_ids=ids)[0].float()
        if how.emphasis in ("Ignore", "None"):
            return cast(Tensor, z)
        weights = torch.tensor([row + [1.0] * (longest - len(row)) for _, row in rows], device=z.device)
        weighted = z * weights[:, :, None]
        if how.emphasis == "No norm" or bool((weights == 1).all()):
            return cast(Tensor, weighted)
        return cast(Tensor, weighted * (z.mean() / weighted.mean()))
