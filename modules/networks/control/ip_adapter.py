"""IP-Adapter (Ye et al. 2023, arXiv 2308.06721): pictures as a prompt. Cross-attention attends to tokens made of a
picture by keys and values of their own, and adds what it finds to what it finds in the words."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.networks.control.layers import AtCall, blocks_of
from modules.networks.forwards import Forward, replaced

PLAIN, FULL, PLUS = "plain", "full", "plus"
HEAD_CHANNELS = 64
"""Channels of one head of the resampler's attention."""


@dataclass(frozen=True)
class IPAdapterShape:
    """What an IP-Adapter is made of.

    `kind` of what makes tokens: PLAIN of the vector that sums a picture up, FULL (full face) of each of the encoder's
    tokens, PLUS by a resampler with `layers` layers of `inner` channels and `attended` ones of attention.
    `image_channels` of what it reads, `tokens` that it makes of a picture, `context_channels` of these, `hidden` ones
    between two layers, and `widths` of the attention layers in the UNet's order.
    """

    kind: str
    image_channels: int
    tokens: int
    context_channels: int
    widths: tuple[int, ...]
    hidden: int = 0
    inner: int = 0
    layers: int = 0
    attended: int = 0

    @property
    def reads_pooled(self) -> bool:
        """Whether it reads the vector that sums a picture up, and not the encoder's tokens."""
        return self.kind == PLAIN


class PlainTokens(nn.Module):
    """A vector to some tokens, by one layer."""

    def __init__(self, shape: IPAdapterShape) -> None:
        super().__init__()
        self.proj = nn.Linear(shape.image_channels, shape.tokens * shape.context_channels)
        self.norm = nn.LayerNorm(shape.context_channels)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C) -> (B, tokens, context channels)."""
        return cast(Tensor, self.norm(self.proj(x).view(len(x), -1, self.norm.normalized_shape[0])))


class FullTokens(nn.Module):
    """Each token of the encoder to one of the context, by two layers."""

    def __init__(self, shape: IPAdapterShape) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.Linear(shape.image_channels, shape.hidden), nn.GELU(),
                                  nn.Linear(shape.hidden, shape.context_channels),
                                  nn.LayerNorm(shape.context_channels))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, tokens, C) -> (B, tokens, context channels)."""
        return cast(Tensor, self.proj(x))


class ResamplerAttention(nn.Module):
    """The resampler's own tokens attend to the picture's and to themselves."""

    def __init__(self, channels: int, attended: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.to_q = nn.Linear(channels, attended, bias=False)
        self.to_kv = nn.Linear(channels, 2 * attended, bias=False)
        self.to_out = nn.Linear(attended, channels, bias=False)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        """x (B, tokens, C), latents (B, n, C) -> (B, n, C)."""
        x, latents = self.norm1(x), self.norm2(latents)
        keys, values = self.to_kv(torch.cat([x, latents], dim=1)).chunk(2, dim=-1)
        queries = self.to_q(latents)
        return cast(Tensor, self.to_out(attention(queries, keys, values, queries.shape[-1] // HEAD_CHANNELS)))


class PlusTokens(nn.Module):
    """The encoder's tokens to some of the context, by a resampler (Perceiver, as in Flamingo, Alayrac et al. 2022)."""

    def __init__(self, shape: IPAdapterShape) -> None:
        super().__init__()
        width = shape.inner
        self.latents = nn.Parameter(torch.empty(1, shape.tokens, width))
        self.proj_in, self.proj_out = nn.Linear(shape.image_channels, width), nn.Linear(width, shape.context_channels)
        self.norm_out = nn.LayerNorm(shape.context_channels)
        self.layers = nn.ModuleList(nn.ModuleList([
            ResamplerAttention(width, shape.attended),
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, shape.hidden, bias=False), nn.GELU(),
                          nn.Linear(shape.hidden, width, bias=False))]) for _ in range(shape.layers))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, tokens, C) -> (B, n, context channels)."""
        x, latents = self.proj_in(x), self.latents.expand(len(x), -1, -1)
        for layer in self.layers:
            attends, thinks = cast(nn.ModuleList, layer)
            latents = attends(x, latents) + latents
            latents = thinks(latents) + latents
        return cast(Tensor, self.norm_out(self.proj_out(latents)))


TOKENS: dict[str, type[nn.Module]] = {PLAIN: PlainTokens, FULL: FullTokens, PLUS: PlusTokens}


class IPAdapter(nn.Module):
    """The network of one file. The names in `image_proj` are the file's."""

    def __init__(self, shape: IPAdapterShape) -> None:
        super().__init__()
        self.shape = shape
        self.image_proj = TOKENS[shape.kind](shape)
        self.to_k_ip, self.to_v_ip = (
            nn.ModuleList(nn.Linear(shape.context_channels, width, bias=False) for width in shape.widths)
            for _ in range(2))

    def tokens(self, seen: Tensor) -> Tensor:
        """What an encoder saw in some pictures, (pictures, C) or (pictures, n, C) -> their tokens one behind the other,
        (1, tokens, context channels)."""
        return cast(Tensor, self.image_proj(seen)).flatten(0, 1)[None]


class ImagePrompt:
    """Pictures that one UNet attends to."""

    def __init__(self, adapter: IPAdapter, unet: nn.Module, tokens: Tensor) -> None:
        """`tokens` (2, n, C): those of the negative prompt's rows, and those of the others."""
        self._layers = [(block.module.attn2, block.place, to_k(tokens), to_v(tokens)) for block, to_k, to_v in
                        zip(blocks_of(unet), adapter.to_k_ip, adapter.to_v_ip, strict=True)]
        self.answers = 1 + max(place for _, place, _, _ in self._layers)
        """How many weights it takes: one for each residual block of transformers, in the order of computing."""

    def around(self, call: AtCall) -> AbstractContextManager[None]:
        """While this lasts the UNet attends to the pictures too."""
        rows = [int(row not in call.unguided) for row in range(call.rows)]
        return replaced({layer: forward for attends, place, keys, values in self._layers if call.weights[place]
                         for layer, forward in _attending(attends, keys[rows], values[rows], call.weights[place],
                                                          call)})


def _attending(attends: Any, keys: Tensor, values: Tensor, weight: float,
               call: AtCall) -> list[tuple[nn.Module, Forward]]:
    """What the projection to queries and the last one of an attention layer compute then. keys, values (B, n, C)."""
    project, finish, heads = attends.to_q.forward, attends.to_out[0].forward, attends.heads
    queries: list[Tensor] = []

    def noting(x: Tensor, *args: Any) -> Tensor:
        queries.append(cast(Tensor, project(x, *args)))
        return queries[-1]

    def adding(x: Tensor, *args: Any) -> Any:
        found = weight * attention(queries.pop(), keys, values, heads)
        share = call.share(found.shape[1])
        return finish(x + (found if share is None else found * share.to(found)), *args)

    return [(attends.to_q, noting), (attends.to_out[0], adding)]


def attention(queries: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """queries (B, n, C), keys and values (B, m, C) -> (B, n, C), in so many heads."""
    q, k, v = (one.view(len(one), one.shape[1], heads, -1).transpose(1, 2) for one in (queries, keys, values))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
