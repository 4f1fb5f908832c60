"""The transformer of Stable Diffusion 3 (Esser et al. 2024, "Scaling Rectified Flow Transformers"): what it is made of,
how it is built from diffusers' class, which tensor is which of its parameters, and how it is asked."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch.nn.functional as F
from torch import Tensor, nn

from modules.errors import CheckpointError, InvalidInput
from modules.networks.shapes import Header, count, shape_of
from modules.sampling.conditioning import Conditioning
from modules.weights.diffusers_names import MMDIT_ENDS, MMDIT_PICTURE, MMDIT_WORDS

if TYPE_CHECKING:
    from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel

HEAD_CHANNELS = 64
PATCH = 2
"""Cells of the latent that are one token, in both directions."""


@dataclass(frozen=True)
class MMDiTShape:
    """What the transformer is made of. `side` x `side` tokens are the largest picture. `dual` are the blocks with a
    second attention to the picture alone, and `normed` says that queries and keys are normed (both of 3.5)."""

    in_channels: int
    channels: int
    layers: int
    context_channels: int
    vector_channels: int
    side: int
    dual: tuple[int, ...] = ()
    normed: bool = False


def mmdit_shape(header: Header, prefix: str) -> MMDiTShape:
    """The transformer under `prefix`, in Stability's layout. Raises CheckpointError."""
    channels, in_channels, *_ = shape_of(header, prefix + "x_embedder.proj.weight")
    places = shape_of(header, prefix + "pos_embed", (3,))[1]
    side = round(places**0.5)
    if side * side != places or channels % HEAD_CHANNELS:
        raise CheckpointError(f"{header.name} has a transformer of {channels} channels and {places} places, which is "
                              "none of Stable Diffusion 3's.")
    block = re.escape(prefix) + r"joint_blocks\.(\d+)\."
    layers = count(header, block)
    return MMDiTShape(
        in_channels, channels, layers, shape_of(header, prefix + "context_embedder.weight", (2,))[1],
        shape_of(header, prefix + "y_embedder.mlp.0.weight", (2,))[1], side,
        tuple(i for i in range(layers) if header.has(f"{prefix}joint_blocks.{i}.x_block.attn2.")),
        header.has(f"{prefix}joint_blocks.0.x_block.attn.ln_q."))


def build_mmdit(shape: MMDiTShape) -> SD3Transformer2DModel:
    """The network without weights; call it under `torch.device("meta")`."""
    from diffusers.models.normalization import AdaLayerNormContinuous
    from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel

    class ShiftThenScale(AdaLayerNormContinuous):
        """Its linear layer gives the shift first, as in Stability's files; diffusers' converter swaps the rows."""

        def forward(self, x: Tensor, conditioning_embedding: Tensor) -> Tensor:
            shift, scale = self.linear(self.silu(conditioning_embedding).to(x.dtype)).chunk(2, dim=1)
            return cast(Tensor, self.norm(x) * (1 + scale)[:, None] + shift[:, None])

    network = SD3Transformer2DModel(
        sample_size=shape.side * PATCH, patch_size=PATCH, in_channels=shape.in_channels, num_layers=shape.layers,
        attention_head_dim=HEAD_CHANNELS, num_attention_heads=shape.channels // HEAD_CHANNELS,
        joint_attention_dim=shape.context_channels, caption_projection_dim=shape.channels,
        pooled_projection_dim=shape.vector_channels, out_channels=shape.in_channels, pos_embed_max_size=shape.side,
        dual_attention_layers=shape.dual, qk_norm="rms_norm" if shape.normed else None)

    def last_norm() -> nn.Module:
        return ShiftThenScale(shape.channels, shape.channels, elementwise_affine=False, eps=1e-6)

    network.norm_out = last_norm()
    network.transformer_blocks[-1].norm1_context = last_norm()
    return cast("SD3Transformer2DModel", network)


_BLOCK = re.compile(r"joint_blocks\.(\d+)\.(x|context)_block\.(.+)\.(weight|bias)")


def mmdit_key(key: str, shape: MMDiTShape) -> str | tuple[str, ...]:
    """diffusers' name, or names, of the tensor that Stability calls `key`; `key` itself where there is no such tensor.
    """
    if key == "pos_embed":
        return "pos_embed.pos_embed"
    if found := _BLOCK.fullmatch(key):
        number, part, layer, leaf = found.groups()
        names = (MMDIT_PICTURE if part == "x" else MMDIT_WORDS).get(layer, ())
        return tuple(f"transformer_blocks.{number}.{name}.{leaf}" for name in names) or key
    owner, _, leaf = key.rpartition(".")
    return f"{MMDIT_ENDS[owner]}.{leaf}" if owner in MMDIT_ENDS else key


def ask_mmdit(network: Callable[..., Any], x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
    """x (B, C, h, w), t (B,) in 0..1000, cond of B rows with a vector -> the flow's velocity (B, C, h, w).

    A latent of an odd number of cells is continued by one. Raises InvalidInput for one that has no places left.
    """
    height, width = x.shape[2:]
    most = cast(Any, network).config.pos_embed_max_size * PATCH
    if max(height, width) > most:
        raise InvalidInput(f"This checkpoint draws at most {most * 8} pixels in width and height.", field="width")
    if height % PATCH or width % PATCH:
        x = F.pad(x, (0, width % PATCH, 0, height % PATCH), mode="replicate")
    answer = network(hidden_states=x, encoder_hidden_states=cond.tokens, pooled_projections=cond.vector, timestep=t,
                     return_dict=False)[0]
    return cast(Tensor, answer)[:, :, :height, :width]
