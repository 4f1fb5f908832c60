"""The UNet: diffusers' network built from a shape, with WebUI's way of joining sizes that do not divide by 8, and with
gated layers that suit a CPU's cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.weights.detect import UNetShape

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel


class Upsample(nn.Module):
    """Doubles the size, then convolves, then cuts or stretches to the skip connection's size.

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


class GatedLinear(nn.Module):
    """A linear layer of twice the width, one half multiplied by the GELU of the other (GEGLU, Shazeer 2020).

    It takes some rows at a time, so that the double width stays in the processor's cache. For whole pictures diffusers'
    layer writes it to memory and reads it again for each of the operations.
    """

    ROWS = 512

    def __init__(self, proj: nn.Linear) -> None:
        super().__init__()
        self.proj = proj

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """x (B, tokens, C) -> (B, tokens, C'), C' half of the layer's width."""
        tokens = x.flatten(0, -2)
        result = x.new_empty(len(tokens), self.proj.out_features // 2)
        rows = self.ROWS if x.device.type == "cpu" else len(tokens)
        for part, out in zip(torch.split(tokens, rows), torch.split(result, rows), strict=True):
            value, gate = self.proj(part).chunk(2, dim=-1)
            torch.mul(value, F.gelu(gate), out=out)
        return result.view(*x.shape[:-1], -1)


def build_unet(shape: UNetShape) -> UNet2DConditionModel:
    """The network without weights; call it under `torch.device("meta")`."""
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
    )
    for block in unet.up_blocks:
        if block.upsamplers is not None:
            block.upsamplers = nn.ModuleList(Upsample(sampler.conv) for sampler in block.upsamplers)
    for layer in unet.modules():
        if isinstance(layer, FeedForward):
            layer.net[0] = GatedLinear(cast(nn.Linear, layer.net[0].proj))
    return cast("UNet2DConditionModel", unet)
