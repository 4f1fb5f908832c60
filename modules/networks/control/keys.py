"""The names of tensors in files of control networks: each layout's names become those of the original one, and these
the parameters of our modules."""

from __future__ import annotations

import re

from modules.networks import ldm_keys
from modules.networks.control.adapter import AdapterShape
from modules.networks.control.union import union_key
from modules.networks.shapes import Shapes, UNetShape

ENDS = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "class_embedding.linear_1": "label_emb.0.0", "class_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0", "controlnet_mid_block": "middle_block_out.0",
    "controlnet_cond_embedding.conv_in": "input_hint_block.0",
    "controlnet_cond_embedding.conv_out": "input_hint_block.14"}
"""diffusers' names of single layers, and the original ones."""

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
          "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}

_HINT = re.compile(r"controlnet_cond_embedding\.blocks\.(\d+)")
_ZERO = re.compile(r"controlnet_down_blocks\.(\d+)")
_DOWN = re.compile(r"down_blocks\.(\d+)\.(resnets|attentions|downsamplers)\.(\d+)\.(.+)")
_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")
_HINT_LAYER = re.compile(r"input_hint_block\.(\d+)")
_ZERO_LAYER = re.compile(r"zero_convs\.(\d+)\.0")
_ADAPTER = re.compile(r"adapter\.body\.(\d+)\.(resnets\.(\d+)\.)?(.+)")


def original_control_key(key: str, blocks: int) -> str:
    """The original name of a ControlNet's tensor; `blocks` a level. A name that is none of diffusers' stays."""
    key = key.removeprefix("control_model.")
    owner, _, leaf = key.rpartition(".")
    if owner in ENDS:
        return f"{ENDS[owner]}.{leaf}"
    if found := _HINT.fullmatch(owner):
        return f"input_hint_block.{2 * int(found[1]) + 2}.{leaf}"
    if found := _ZERO.fullmatch(owner):
        return f"zero_convs.{found[1]}.0.{leaf}"
    if found := _DOWN.fullmatch(key):
        level, kind, number, rest = int(found[1]), found[2], int(found[3]), found[4]
        if kind == "downsamplers":
            return f"input_blocks.{(level + 1) * (blocks + 1)}.0.op.{leaf}"
        place = 1 + level * (blocks + 1) + number
        return f"input_blocks.{place}.1.{rest}" if kind == "attentions" else f"input_blocks.{place}.0.{_resnet(rest)}"
    if found := _MIDDLE.fullmatch(key):
        attends, number = found[1] == "attentions", int(found[2])
        return f"middle_block.1.{found[3]}" if attends else f"middle_block.{2 * number}.{_resnet(found[3])}"
    return key


def blocks_of(shapes: Shapes) -> int:
    """How many residual blocks a level of a ControlNet in diffusers' layout has; 2 for other layouts."""
    found = {match[1] for key in shapes if (match := re.match(r"down_blocks\.0\.resnets\.(\d+)\.", key))}
    return len(found) or 2


def control_key(key: str, shape: UNetShape) -> str | None:
    """Our parameter of a ControlNet's tensor whose original name is `key`. None for what is not needed."""
    owner, _, leaf = key.rpartition(".")
    if found := _HINT_LAYER.fullmatch(owner):
        return f"hint_encoder.{found[1]}.{leaf}"
    if found := _ZERO_LAYER.fullmatch(owner):
        return f"zero_convs.{found[1]}.{leaf}"
    if owner == "middle_block_out.0":
        return f"mid_out.{leaf}"
    if of_union := union_key(key):
        return of_union
    return ldm_keys.unet_key(key, shape)


def original_adapter_key(key: str, blocks: int, *, light: bool) -> str:
    """The original name of an adapter's tensor; `blocks` a level. A name that is none of diffusers' stays."""
    found = _ADAPTER.fullmatch(key)
    if found is None:
        return key.removeprefix("adapter.")
    level, number, rest = int(found[1]), found[3], found[4]
    if light:
        return f"body.{level}.{rest}" if number is None else f"body.{level}.body.{number}.{rest}"
    return f"body.{level * blocks + int(number or 0)}.{rest}"


def adapter_key(key: str, shape: AdapterShape) -> str:
    """Our parameter of an adapter's tensor, whose original name it has."""
    return key


def _resnet(rest: str) -> str:
    """The original name of a tensor inside a residual block."""
    owner, _, leaf = rest.rpartition(".")
    return f"{RESNET.get(owner, owner)}.{leaf}"
