"""The UNet: diffusers' network built from a shape, with WebUI's way of joining sizes that do not divide by 8, and with
blocks of our own that compute the same numbers and touch memory less often.

The blocks can be trained through. They write into tensors of their own only where no gradients are recorded; so whoever
wants a prediction calls the network under `torch.no_grad`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.networks.shapes import UNetShape
from modules.sampling.conditioning import Conditioning

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel


class Upsample(nn.Module):
    """Doubles the size, convolves, and resizes the result to the skip connection's size.

    diffusers resizes to the skip's size before the convolution and gets other numbers (WebUI:
    `sd_hijack_unet.TorchHijackForUnet.cat`).
    """

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor, output_size: tuple[int, int] | None = None) -> Tensor:
        """x (B, C, h, w) -> (B, C, 2h, 2w); or (B, C, *output_size), which diffusers passes for odd sizes."""
        x = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        if output_size is None or tuple(x.shape[-2:]) == tuple(output_size):
            return x
        return F.interpolate(x, size=tuple(output_size), mode="nearest")


class Residual(nn.Module):
    """A residual block of two convolutions, with the time's embedding added between them (Ho et al. 2020, appendix B).

    diffusers' block without its copies, its options and its divisions by 1.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.norm1, self.conv1, self.time_emb_proj = block.norm1, block.conv1, block.time_emb_proj
        self.norm2, self.conv2, self.conv_shortcut = block.norm2, block.conv2, block.conv_shortcut

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        """x (B, C, h, w), the time's embedding temb (B, T) -> (B, C', h, w)."""
        hidden = self.conv1(_silu(self.norm1(x)))  # (B, C', h, w)
        hidden = _sum(hidden, self.time_emb_proj(F.silu(temb))[:, :, None, None])
        hidden = self.conv2(_silu(self.norm2(hidden)))
        return _sum(hidden, x if self.conv_shortcut is None else self.conv_shortcut(x))


class SpatialTransformer(nn.Module):
    """A residual block of transformer blocks over the cells of a picture (Rombach et al. 2022, appendix E).

    diffusers' block, except that it leaves channels last in memory, as the convolutions give and want them. The outer
    projections are convolutions of 1 x 1 in Stable Diffusion 1.x and linear layers in later families.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.norm, self.proj_in, self.proj_out = block.norm, block.proj_in, block.proj_out
        self.transformer_blocks = block.transformer_blocks
        self.linear = isinstance(block.proj_in, nn.Linear)

    def forward(self, x: Tensor, encoder_hidden_states: Tensor, **_: Any) -> tuple[Tensor]:
        """x (B, C, h, w), context (B, tokens, context channels) -> ((B, C, h, w),)."""
        height, width = x.shape[2:]
        cells = self._projected(self.proj_in, self.norm(x)).permute(0, 2, 3, 1).flatten(1, 2)  # (B, h * w, C)
        for block in self.transformer_blocks:
            cells = block(cells, encoder_hidden_states=encoder_hidden_states)
        return (_sum(self._projected(self.proj_out, cells.view(len(x), height, width, -1).permute(0, 3, 1, 2)), x),)

    def _projected(self, layer: nn.Module, x: Tensor) -> Tensor:
        """x (B, C, h, w) through `layer`, cell by cell."""
        return cast(Tensor, layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) if self.linear else layer(x))


class GatedLinear(nn.Module):
    """A linear layer of twice the width, one half multiplied by the GELU of the other (GEGLU, Shazeer 2020).

    On a CPU and without gradients it computes `MOST_ROWS` rows at a time at most, so that the double width stays in the
    processor's cache; diffusers' layer writes the double width of all rows to memory and reads it again for each
    operation. Each time it is the same number of rows, because a packed weight's order depends on it: the last part
    repeats some rows of the part before if the rows do not divide.
    """

    MOST_ROWS = 512

    def __init__(self, proj: nn.Linear) -> None:
        super().__init__()
        self.proj = proj

    def forward(self, x: Tensor) -> Tensor:
        """x (B, tokens, C) -> (B, tokens, C'), where C' is half of the layer's width."""
        if torch.is_grad_enabled():
            value, gate = self.proj(x).chunk(2, dim=-1)
            return cast(Tensor, value * F.gelu(gate))
        tokens = x.flatten(0, -2)
        result = x.new_empty(len(tokens), self.proj.out_features // 2)
        times = math.ceil(len(tokens) / self.MOST_ROWS) if x.device.type == "cpu" else 1
        rows = math.ceil(len(tokens) / times)
        for start in range(0, len(tokens), rows):
            part = slice(min(start, len(tokens) - rows), start + rows)
            value, gate = self.proj(tokens[part]).chunk(2, dim=-1)
            torch.mul(value, F.gelu(gate), out=result[part])
        return result.view(*x.shape[:-1], -1)


def ask_unet(unet: Callable[..., Any], x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
    """x (B, C, h, w), t (B,) in 0..999, cond of B rows -> the UNet's answer (B, 4, h, w).

    A pooled vector is added to the time's embedding, as by ldm's `label_emb`.
    """
    more: dict[str, Any] = {} if cond.vector is None else {"class_labels": cond.vector}
    residuals = cond.residuals
    if residuals and residuals.middle is not None:
        more |= {"down_block_additional_residuals": residuals.skips, "mid_block_additional_residual": residuals.middle}
    if residuals and residuals.features:
        more["down_intrablock_additional_residuals"] = [one.expand(len(x), -1, -1, -1) for one in residuals.features]
    return cast(Tensor, unet(x, t, cond.tokens, return_dict=False, **more)[0])


def _silu(x: Tensor) -> Tensor:
    """SiLU of x; written into x where no gradients are recorded."""
    return F.silu(x, inplace=not x.requires_grad)


def _sum(x: Tensor, y: Tensor) -> Tensor:
    """x + y; written into x where no gradients are recorded."""
    return x + y if x.requires_grad or y.requires_grad else x.add_(y)


def build_unet(shape: UNetShape) -> UNet2DConditionModel:
    """Return the network for `shape`. Under `torch.device("meta")` its parameters take no memory."""
    from diffusers.models.attention import FeedForward
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    down = ["CrossAttnDownBlock2D" if has else "DownBlock2D" for has in shape.attention]
    up = ["CrossAttnUpBlock2D" if has else "UpBlock2D" for has in reversed(shape.attention)]
    unet = UNet2DConditionModel(
        in_channels=shape.in_channels,
        out_channels=4,
        block_out_channels=shape.channels,
        layers_per_block=shape.blocks,
        down_block_types=tuple(down),
        up_block_types=tuple(up),
        transformer_layers_per_block=shape.transformer_layers,
        cross_attention_dim=shape.context_channels,
        attention_head_dim=shape.heads,  # diffusers' name for the number of heads
        norm_num_groups=shape.norm_groups,
        use_linear_projection=shape.linear,
        class_embed_type="projection" if shape.vector_channels else None,
        projection_class_embeddings_input_dim=shape.vector_channels or None,
    )
    for block in (*unet.down_blocks, unet.mid_block, *unet.up_blocks):
        block.resnets = nn.ModuleList(Residual(resnet) for resnet in block.resnets)
        if hasattr(block, "attentions"):
            block.attentions = nn.ModuleList(SpatialTransformer(attention) for attention in block.attentions)
        if getattr(block, "upsamplers", None) is not None:
            block.upsamplers = nn.ModuleList(Upsample(sampler.conv) for sampler in block.upsamplers)
    for layer in unet.modules():
        if isinstance(layer, FeedForward):
            layer.net[0] = GatedLinear(cast(nn.Linear, layer.net[0].proj))
    return cast("UNet2DConditionModel", unet)
