"""The autoencoder: diffusers' network built from a shape."""

from __future__ import annotations

from typing import cast

from torch import nn

from modules.networks.shapes import VaeShape


def build_vae(shape: VaeShape) -> nn.Module:
    """The network without weights; call it under `torch.device("meta")`."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    levels = len(shape.channels)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=shape.channels,
        layers_per_block=shape.blocks,
        latent_channels=shape.latent_channels,
        norm_num_groups=shape.norm_groups,
    )
    return cast(nn.Module, vae)
