"""Tensor names: Stable Diffusion's original layout (ldm) to the names of diffusers' and transformers' modules.

Names are those behind the prefix of their network.
"""

from __future__ import annotations

from modules.networks.shapes import TextShape, UNetShape, VaeShape
from modules.weights.diffusers_names import (
    OPENCLIP_ENDS,
    OPENCLIP_LAYER,
    RESNET,
    UNET_ENDS,
    VAE_ATTENTION,
    VECTOR_ENDS,
)

_UNET_ENDS = UNET_ENDS | {ours: f"class_embedding.{theirs}" for ours, theirs in VECTOR_ENDS.items()}


def unet_key(key: str, shape: UNetShape) -> str:
    """diffusers' name of a UNet tensor whose ldm name is `key`; `key` itself where there is no such tensor."""
    return _unet_key(key, shape) or key


def vae_key(key: str, shape: VaeShape) -> str | None:
    """The same of an autoencoder's. None for what only training needs: its discriminator and its averages."""
    return None if key.startswith(("loss.", "model_ema.")) else _vae_key(key, shape) or key


def clip_key(key: str, shape: TextShape) -> str | None:
    """The same of a text encoder's in transformers' layout. None for its position numbers, which are computed."""
    return None if key.endswith("position_ids") else key


def openclip_key(key: str, shape: TextShape) -> str | tuple[str, ...] | None:
    """transformers' name of an OpenCLIP text encoder's tensor. The projections to queries, keys and values are one
    tensor there, and their three names are given in its rows' order. None for what only training needs, and for the
    projection of a pooled vector that is not wanted."""
    if key == "logit_scale":
        return None
    if key == "text_projection":
        return key if shape.pooled_channels else None
    if key in OPENCLIP_ENDS:
        return OPENCLIP_ENDS[key]
    _, _, rest = key.partition("transformer.resblocks.")
    number, _, rest = rest.partition(".")
    where = f"encoder.layers.{number}"
    if rest.startswith("attn.in_proj_"):
        leaf = rest.removeprefix("attn.in_proj_")
        return tuple(f"{where}.self_attn.{name}_proj.{leaf}" for name in "qkv")
    owner, _, leaf = rest.rpartition(".")
    return f"{where}.{OPENCLIP_LAYER[owner]}.{leaf}" if owner in OPENCLIP_LAYER else key


def _unet_key(key: str, shape: UNetShape) -> str | None:
    owner, _, leaf = key.rpartition(".")
    if owner in _UNET_ENDS:
        return f"{_UNET_ENDS[owner]}.{leaf}"
    parts = key.split(".")
    try:
        if parts[0] == "middle_block":
            index = int(parts[1])
            if index == 1:
                return _join("mid_block.attentions.0", parts[2:])
            return _resnet(f"mid_block.resnets.{index // 2}", parts[2:])
        block, index = int(parts[1]), int(parts[2])
    except (IndexError, ValueError):
        return None
    if parts[0] == "input_blocks":
        return _input_block(block, index, parts[3:], shape)
    if parts[0] == "output_blocks":
        return _output_block(block, index, parts[3:], shape)
    return None


def _vae_key(key: str, shape: VaeShape) -> str | None:
    parts = key.split(".")
    if parts[0] in ("quant_conv", "post_quant_conv"):
        return key
    if parts[0] not in ("encoder", "decoder") or len(parts) < 3:
        return None
    half, kind, rest = parts[0], parts[1], parts[2:]
    if kind == "norm_out":
        return _join(f"{half}.conv_norm_out", rest)
    if kind in ("conv_in", "conv_out"):
        return key
    if kind == "mid":
        return _vae_middle(half, rest)
    if kind in ("down", "up") and len(rest) > 2 and rest[0].isdecimal():
        level = int(rest[0]) if kind == "down" else len(shape.channels) - 1 - int(rest[0])
        where = f"{half}.{kind}_blocks.{level}"
        if rest[1] == "block":
            return _vae_resnet(f"{where}.resnets.{rest[2]}", rest[3:])
        if rest[1] in ("downsample", "upsample"):
            return _join(f"{where}.{rest[1]}rs.0", rest[2:])
    return None


def _input_block(block: int, index: int, rest: list[str], shape: UNetShape) -> str | None:
    level, layer = divmod(block - 1, shape.blocks + 1)
    where = f"down_blocks.{level}"
    if rest[:1] == ["op"]:
        return _join(f"{where}.downsamplers.0.conv", rest[1:])
    if index == 1:
        return _join(f"{where}.attentions.{layer}", rest)
    return _resnet(f"{where}.resnets.{layer}", rest)


def _output_block(block: int, index: int, rest: list[str], shape: UNetShape) -> str | None:
    level, layer = divmod(block, shape.blocks + 1)
    where = f"up_blocks.{level}"
    if rest[:1] == ["conv"]:
        return _join(f"{where}.upsamplers.0.conv", rest[1:])
    if index == 1:
        return _join(f"{where}.attentions.{layer}", rest)
    return _resnet(f"{where}.resnets.{layer}", rest)


def _vae_middle(half: str, rest: list[str]) -> str | None:
    if rest[0] in ("block_1", "block_2"):
        return _vae_resnet(f"{half}.mid_block.resnets.{int(rest[0][-1]) - 1}", rest[1:])
    if rest[0] == "attn_1" and len(rest) > 1 and rest[1] in VAE_ATTENTION:
        return _join(f"{half}.mid_block.attentions.0.{VAE_ATTENTION[rest[1]]}", rest[2:])
    return None


def _vae_resnet(where: str, rest: list[str]) -> str:
    return _join(where, ["conv_shortcut" if part == "nin_shortcut" else part for part in rest])


def _resnet(where: str, rest: list[str]) -> str | None:
    name = RESNET.get(".".join(rest[:-1]))
    return f"{where}.{name}.{rest[-1]}" if name else None


def _join(where: str, rest: list[str]) -> str:
    return ".".join([where, *rest])
