"""Words to context: parse the weights, cut into chunks, run CLIP on each, apply the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from modules.base.stopping import may_go_on
from modules.errors import InvalidInput
from modules.networks.forwards import replaced
from modules.networks.shapes import TextShape
from modules.networks.text.chunks import Chunk, chunk, old_chunk
from modules.networks.text.clip_tokenizer import END, Encode, bracket_weights
from modules.networks.text.words import NO_WORDS, Embedding, Words
from modules.sampling.conditioning import Conditioning, TextOptions
from modules.text.prompt import parse_attention

EMPHASIS = ("Original", "No norm", "Ignore", "None", "Old")  # Old: WebUI's use_old_emphasis_implementation


@dataclass(frozen=True)
class Reading:
    """What of a CLIP text encoder a family reads.

    `layer`: which layer's answer, 1 the last, 2 the one before it. `normed`: the final norm is applied to it, whatever
    layer it is. `pad` fills a chunk up behind its end token. `name` is the encoder's in embeddings, "" where
    it is the only one. `pooled`: the pooled vector is wanted as it is, where nothing projects it.
    """

    layer: Callable[[TextOptions], int] = lambda how: how.clip_skip
    normed: bool = True
    pad: int = END
    name: str = ""
    pooled: bool = False


class TextEncoder:
    """A CLIP text model and its tokenizer. `words` are the embeddings that prompts may name."""

    def __init__(self, clip: nn.Module, encode: Encode, device: torch.device, reading: Reading | None = None) -> None:
        self.clip = clip
        self.device = device
        self._encode, self._reading = encode, reading or Reading()
        self.words = NO_WORDS
        embeddings = clip.get_submodule("embeddings")
        positions = cast(Tensor, embeddings.position_ids)
        if positions.is_meta:  # they are computed, not stored
            embeddings.position_ids = torch.arange(positions.shape[-1], device=device)[None]

    @property
    def widths(self) -> dict[str, int]:
        """The length of the vectors that it reads, by its name."""
        return {self._reading.name: int(cast(Any, self.clip).embeddings.token_embedding.weight.shape[1])}

    def take_words(self, embeddings: Iterable[Embedding]) -> None:
        """From now on prompts may name these `embeddings`, those that fit."""
        self.words = self.words_of(one for one in embeddings if one.fits(self.widths))

    def words_of(self, embeddings: Iterable[Embedding]) -> Words:
        """Embeddings by their names' tokens."""
        return Words(embeddings, self._encode)

    def embeddings_in(self, texts: Sequence[str], how: TextOptions) -> list[Embedding]:
        """The embeddings that the texts name, each once, in the order in which `encode` comes to them."""
        columns = self.columns(texts, how)
        return list(dict.fromkeys(one for column in columns for chunk in column for _, one in chunk.embeddings))

    def encode(self, texts: Sequence[str], how: TextOptions) -> Conditioning:
        """Texts without schedules and AND as the rows of one batch: tokens (texts, 77 * chunks, channels), float32, and
        the pooled vector (texts, pooled channels) of an encoder that has one, which is that of the first chunk.

        All texts get as many chunks as the longest; the others are filled up with empty chunks.

        Raises:
            InvalidInput: an unknown emphasis, or more layers to skip than there are.
        """
        columns = self.columns(texts, how)
        answers = [self.answer(column, how) for column in columns]
        tokens = [emphasised(z, column, how) for (z, _), column in zip(answers, columns, strict=True)]
        return Conditioning(torch.cat(tokens, dim=1), answers[0][1])

    def columns(self, texts: Sequence[str], how: TextOptions) -> list[list[Chunk]]:
        """The chunks of all texts: the first of each, the second of each, and so on."""
        if how.emphasis not in EMPHASIS:
            known = ", ".join(EMPHASIS)
            raise InvalidInput(f'There is no emphasis mode "{how.emphasis}"; there are {known}.', field="emphasis")
        lines = [self._chunks(text, how.emphasis, how.comma_backtrack) for text in texts]
        longest = max(len(line) for line in lines)
        return [[line[i] if i < len(line) else Chunk() for line in lines] for i in range(longest)]

    def _chunks(self, text: str, emphasis: str, comma_backtrack: int) -> list[Chunk]:
        if emphasis == "Old":
            return [old_chunk(text, self._encode, bracket_weights())]
        parts = [(text, 1.0)] if emphasis == "None" else parse_attention(text)
        return chunk(parts, self._encode, comma_backtrack, self.words)

    def answer(self, column: Sequence[Chunk], how: TextOptions) -> tuple[Tensor, Tensor | None]:
        """One chunk of each text: (texts, 77, channels), its weights not yet applied, and (texts, pooled channels) or
        None."""
        may_go_on()
        tokens = [chunk.padded(self._reading.pad)[0] for chunk in column]
        with self._with_vectors(column):
            return self._run_clip(torch.tensor(tokens, device=self.device), how)

    def _with_vectors(self, column: Sequence[Chunk]) -> AbstractContextManager[None]:
        """While this lasts the vectors of embeddings stand in the place of their tokens'."""
        if not any(chunk.embeddings for chunk in column):
            return nullcontext()
        table = cast(Any, self.clip).embeddings.token_embedding
        look_up = table.forward

        def forward(tokens: Tensor) -> Tensor:
            vectors = cast(Tensor, look_up(tokens)).clone()  # (texts, 77, C)
            for row, one in enumerate(column):
                for place, embedding in one.embeddings:
                    own = embedding.vectors[self._reading.name].to(vectors)
                    vectors[row, place + 1 : place + 1 + len(own)] = own  # the first is the start token's
            return vectors

        return replaced({table: forward})

    def _run_clip(self, tokens: Tensor, how: TextOptions) -> tuple[Tensor, Tensor | None]:
        clip, reading = cast(Any, self.clip), self._reading
        layer, layers = reading.layer(how), clip.config.num_hidden_layers
        if layer > layers:
            message = f"Clip skip is {layer}, but this checkpoint's text encoder has only {layers} layers."
            raise InvalidInput(message, field="CLIP_stop_at_last_layers")
        last = layer <= 1 and reading.normed
        out = clip(input_ids=tokens, output_hidden_states=not last)
        pooled = self._pooled(out.pooler_output)
        if last:
            return out.last_hidden_state, pooled
        z = out.hidden_states[-layer]
        return clip.final_layer_norm(z) if reading.normed else z, pooled

    def _pooled(self, vector: Tensor) -> Tensor | None:
        projection = getattr(self.clip, "text_projection", None)
        if projection is None:
            return vector if self._reading.pooled else None
        return cast(Tensor, projection(vector) if isinstance(projection, nn.Module) else vector @ projection)


def emphasised(z: Tensor, column: Sequence[Chunk], how: TextOptions) -> Tensor:
    """z (texts, 77, channels), the answer to one chunk of each text, with the weights that the prompts give."""
    if how.emphasis in ("Ignore", "None"):
        return z
    weights = torch.tensor([chunk.padded()[1] for chunk in column], device=z.device)
    weighted = z * weights[:, :, None]
    return weighted if how.emphasis == "No norm" else weighted * (z.mean() / weighted.mean())


class SideBySide:
    """Several text encoders that read the same prompt, their answers side by side. The pooled vector is the last
    one's."""

    def __init__(self, *encoders: TextEncoder) -> None:
        self._encoders = encoders

    @property
    def widths(self) -> dict[str, int]:
        """The length of the vectors that each reads, by its name."""
        return {name: width for encoder in self._encoders for name, width in encoder.widths.items()}

    def take_words(self, embeddings: Iterable[Embedding]) -> None:
        """From now on prompts may name these `embeddings`, those that have vectors for all encoders."""
        words = self._encoders[0].words_of(one for one in embeddings if one.fits(self.widths))
        for encoder in self._encoders:
            encoder.words = words

    def embeddings_in(self, texts: Sequence[str], how: TextOptions) -> list[Embedding]:
        """The embeddings that the texts name, once for each encoder."""
        return [one for encoder in self._encoders for one in encoder.embeddings_in(texts, how)]

    def encode(self, texts: Sequence[str], how: TextOptions) -> Conditioning:
        """As `TextEncoder.encode`, with the channels of all encoders."""
        encoded = [encoder.encode(texts, how) for encoder in self._encoders]
        return Conditioning(torch.cat([one.tokens for one in encoded], dim=-1), encoded[-1].vector)


def build_clip(shape: TextShape) -> nn.Module:
    """The network without weights; call it under `torch.device("meta")`. A pooled vector is multiplied by its
    `text_projection` (channels, pooled channels)."""
    from transformers.models.clip import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.channels,
        intermediate_size=shape.mlp_channels,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=shape.positions,
        hidden_act="quick_gelu" if shape.quick_gelu else "gelu",
        eos_token_id=END,  # where it stands first, the pooled vector is read
    )
    clip = cast(nn.Module, CLIPTextModel(config))
    if shape.projected:
        clip.text_projection = nn.Linear(shape.channels, shape.pooled_channels, bias=False)
    elif shape.pooled_channels:
        clip.text_projection = nn.Parameter(torch.empty(shape.channels, shape.pooled_channels))
    return clip
