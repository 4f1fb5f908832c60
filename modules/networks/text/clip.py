"""Words to context: parse the weights, cut into chunks, run CLIP on each, apply the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from modules.base.stopping import may_go_on
from modules.errors import InvalidInput
from modules.networks.shapes import TextShape
from modules.networks.text.chunks import Chunk, chunk, old_chunk
from modules.networks.text.clip_tokenizer import Encode, bracket_weights
from modules.sampling.conditioning import Conditioning, TextOptions
from modules.text.prompt import parse_attention

EMPHASIS = ("Original", "No norm", "Ignore", "None", "Old")  # Old: WebUI's use_old_emphasis_implementation


class TextEncoder:
    """CLIP's text model and its tokenizer."""

    def __init__(self, clip: nn.Module, encode: Encode, device: torch.device) -> None:
        self.clip = clip
        self.device = device
        self._encode = encode
        embeddings = clip.get_submodule("embeddings")
        positions = cast(Tensor, embeddings.position_ids)
        if positions.is_meta:  # they are computed, not stored
            embeddings.position_ids = torch.arange(positions.shape[-1], device=device)[None]

    @torch.no_grad()
    def encode(self, texts: Sequence[str], how: TextOptions) -> Conditioning:
        """Texts without schedules and AND as the rows of one batch: tokens (texts, 77 * chunks, channels), float32.

        All texts get as many chunks as the longest; the others are filled up with empty chunks. The final norm is
        applied whatever layer is taken.

        Raises:
            InvalidInput: an unknown emphasis, or more layers to skip than there are.
        """
        if how.emphasis not in EMPHASIS:
            known = ", ".join(EMPHASIS)
            raise InvalidInput(f'There is no emphasis mode "{how.emphasis}"; there are {known}.', field="emphasis")
        lines = [self._chunks(text, how.emphasis, how.comma_backtrack) for text in texts]
        longest = max(len(line) for line in lines)
        columns = [[line[i] if i < len(line) else Chunk() for line in lines] for i in range(longest)]
        encoded = [self._encode_column(column, how.clip_skip, how.emphasis) for column in columns]
        return Conditioning(torch.cat(encoded, dim=1))

    def _chunks(self, text: str, emphasis: str, comma_backtrack: int) -> list[Chunk]:
        if emphasis == "Old":
            return [old_chunk(text, self._encode, bracket_weights())]
        parts = [(text, 1.0)] if emphasis == "None" else parse_attention(text)
        return chunk(parts, self._encode, comma_backtrack)

    def _encode_column(self, column: Sequence[Chunk], clip_skip: int, emphasis: str) -> Tensor:
        """One chunk of each text. Shape (texts, 77, channels)."""
        may_go_on()
        padded = [chunk.padded() for chunk in column]
        z = self._run_clip(torch.tensor([tokens for tokens, _ in padded], device=self.device), clip_skip)
        if emphasis in ("Ignore", "None"):
            return z
        weights = torch.tensor([weights for _, weights in padded], device=self.device)
        weighted = z * weights[:, :, None]
        if emphasis == "No norm":
            return weighted
        return weighted * (z.mean() / weighted.mean())

    def _run_clip(self, tokens: Tensor, clip_skip: int) -> Tensor:
        clip = cast(Any, self.clip)
        if clip_skip <= 1:
            return cast(Tensor, clip(input_ids=tokens).last_hidden_state)
        layers = clip.config.num_hidden_layers
        if clip_skip > layers:
            message = f"Clip skip is {clip_skip}, but this checkpoint's text encoder has only {layers} layers."
            raise InvalidInput(message, field="CLIP_stop_at_last_layers")
        hidden = clip(input_ids=tokens, output_hidden_states=True).hidden_states
        return cast(Tensor, clip.final_layer_norm(hidden[-clip_skip]))


def build_clip(shape: TextShape) -> nn.Module:
    """The network without weights; call it under `torch.device("meta")`."""
    from transformers.models.clip import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.channels,
        intermediate_size=shape.mlp_channels,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=shape.positions,
        hidden_act="quick_gelu",
    )
    return cast(nn.Module, CLIPTextModel(config))
